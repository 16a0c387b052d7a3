"""What every service that runs vLLM needs of it: its environment, and what it prints while it starts."""
