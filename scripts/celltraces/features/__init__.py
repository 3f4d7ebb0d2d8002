"""Measure cells: features of shape and light, spots in cells, filters, the table of traces."""
