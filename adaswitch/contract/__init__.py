"""The formats that travel between processes, and the checks that both sides understand each other."""
