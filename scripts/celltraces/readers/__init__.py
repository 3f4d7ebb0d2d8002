"""Inspect and open movies of all formats, a module each."""
