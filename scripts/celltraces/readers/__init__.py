"""Inspect and open input files: ND2, CZI, spools of PYME, folders of PyAMA."""
