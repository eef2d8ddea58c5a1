"""Captioning: a picture goes in, a sentence and what each of its words looked at come out."""
