"""What the paper's recipes take on GPUs, as an estimate: memory and hours of the files in ``configs/paper/``."""
