"""How seconds and memory grow with the number of samples, dimensions and clusters: benchmarks/scale.py."""
