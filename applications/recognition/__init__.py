"""Recognition: a picture is looked at by glimpses, and what it shows comes out."""
