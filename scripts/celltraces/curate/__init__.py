"""Serve a page in which a person browses results and decides on cells."""
