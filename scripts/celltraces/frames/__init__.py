"""Examine raw frames: areas without data, z stacks, exposure, statistics, movement of the stage."""
