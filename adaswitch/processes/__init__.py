"""Child processes, and the steps that every program of this project takes at its start and at its end."""
