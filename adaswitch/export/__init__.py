"""What leaves a run: the trained model as a folder of its own, its card, and its ways to the hub and to GGUF."""
