"""Child processes, and what every program of this project does at its start and end."""
