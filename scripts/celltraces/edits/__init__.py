"""A person's edits of cells and tracks: records on disk, and what they make of the tracked labels."""
