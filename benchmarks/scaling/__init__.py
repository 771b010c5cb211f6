"""Growth of seconds and memory with the number of samples, dimensions and clusters: benchmarks/scale.py."""
