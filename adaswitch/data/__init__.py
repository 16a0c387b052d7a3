"""Data sets and model folders, read and checked before a run begins."""
