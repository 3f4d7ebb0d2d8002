"""Draw pictures for people: outlines on frames, movies, plots."""
