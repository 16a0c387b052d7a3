"""Data sets and model folders, which are read and checked before a run begins."""
