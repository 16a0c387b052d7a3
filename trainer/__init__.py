"""The trainer: takes rollouts from the queue, updates the student, publishes its weights.

It knows nothing of switching: what a token is to be trained towards travels with the rollout.
"""
