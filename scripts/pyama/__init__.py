"""What the scripts of the workflow share, one module per thing. Importing this package does no work."""
