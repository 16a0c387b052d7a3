"""The student on vLLM."""
