"""Requests that no good client sends, and what a server may answer to them."""
