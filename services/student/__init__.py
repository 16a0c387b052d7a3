"""The student service: actors that roll prompts out by the policy, and put the rollouts on the queue."""
