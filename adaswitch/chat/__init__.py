"""Talking to a model: how it is asked, and what it answers, a line at a time."""
