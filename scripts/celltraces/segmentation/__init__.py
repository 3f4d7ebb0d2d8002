"""Find cells in phase-contrast frames, by one of several methods."""
