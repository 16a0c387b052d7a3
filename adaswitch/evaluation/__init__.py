"""Held-out prompts answered and marked: by the trainer on its way, and by ``adaswitch eval``."""
