"""The demonstration: a simulated experiment with known truth, and writers of real ND2 and CZI files.

Tests use the same simulator and writers. Importing this package does no work.
"""
