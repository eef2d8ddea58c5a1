"""Algorithmic tasks: machines with an outer memory learn to copy, to recall, to sort, to count."""
