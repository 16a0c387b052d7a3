"""How a rule is found: by its ``kind`` in a folder of this repository, or by its import path anywhere else."""
