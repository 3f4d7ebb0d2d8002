"""The package that the stage scripts share: a room (sub-package) per subject. Importing it does no work."""
