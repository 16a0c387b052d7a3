"""A trainer of several processes, ranks, among which weights, optimizer and rollouts are divided."""
