"""Benchmarks: each prints one JSON line a row. ``python -m bench.teacher``, ``python -m bench.load``."""
