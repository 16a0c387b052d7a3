"""The teacher on vLLM."""
