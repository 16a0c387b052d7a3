"""Benchmarks, which print JSON: ``python -m bench.teacher``, ``python -m bench.load``, ``python -m bench.scaling``."""
