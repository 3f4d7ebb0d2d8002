"""What the benchmarks of segmentation and tracking share: sets with their truth, methods, measures."""
