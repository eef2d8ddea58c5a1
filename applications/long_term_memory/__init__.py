"""Long-term memory: what was marked early in a long sequence is recalled at its end."""
