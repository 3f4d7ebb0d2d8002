"""Give the same number to the same cell in all frames, by one of several methods."""
