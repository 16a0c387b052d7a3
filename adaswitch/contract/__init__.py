"""What travels between processes, and how each side knows that it understands the other."""
