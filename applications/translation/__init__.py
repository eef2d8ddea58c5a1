"""Translation: a sentence goes in, its translation and the alignment behind it come out."""
