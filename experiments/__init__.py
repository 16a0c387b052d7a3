"""Comparisons and analyses: many runs of one base config, and the tables and pictures that follow from them.

Nothing else imports this package; it may import everything.
"""
