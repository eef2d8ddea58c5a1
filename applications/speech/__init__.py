"""Speech recognition: a recording goes in, and what was said comes out, with when each was said."""
