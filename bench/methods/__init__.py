"""Compares what the ways of distilling cost, and the whole with the trainer that a user would take instead."""
