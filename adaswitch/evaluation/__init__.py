"""The evaluation on held-out prompts, by the trainer during a run and by ``adaswitch eval``."""
