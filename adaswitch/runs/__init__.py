"""The run directory, and everything that is read from a run directory."""
