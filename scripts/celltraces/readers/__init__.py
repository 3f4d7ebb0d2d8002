"""Open microscopy files: ND2 and CZI, and folders of PyAMA."""
