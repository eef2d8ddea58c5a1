"""Reading: an entity that was left out of a sentence, found in a passage about entities."""
