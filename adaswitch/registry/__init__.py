"""How rules are found: by their ``kind`` in a folder of this repository, or by their import path anywhere else."""
