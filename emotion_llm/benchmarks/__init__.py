"""Benchmarks against baselines: both sides run in turns on the same machine and data."""
