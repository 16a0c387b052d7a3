"""The student service: actors that roll out prompts by the policy, and put the rollouts on the queue."""
