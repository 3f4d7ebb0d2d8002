"""Say where the planes of a movie lie: pages of TIFF files, OME-XML, names of files."""
