"""Benchmarks: comparison with PyTorch, and timings of this library alone for asv. See README.md in this folder."""
