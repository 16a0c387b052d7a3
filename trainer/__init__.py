"""The trainer: takes rollouts from the queue, updates the student, publishes its weights.

The trainer knows nothing of switching: the distribution that each token is trained towards travels with the rollout.
"""
