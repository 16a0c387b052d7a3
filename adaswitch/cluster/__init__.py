"""Everything that runs on Ray: the rollout queue and the weight board as actors, and a cluster's head."""
