"""Store arrays and groups as Zarr 3, with checksums and display levels; open archives safely."""
