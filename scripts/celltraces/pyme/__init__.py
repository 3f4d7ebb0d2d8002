"""Everything for the neighbour program PYME: its metadata, spools, images, tables, recipes, PSFs and shift fields."""
