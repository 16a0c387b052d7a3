"""Comparisons and analyses: many runs of one base config, and the tables and pictures that follow from them.

No other package imports this package, and this package may import every other.
"""
