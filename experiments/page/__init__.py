"""A comparison as a page to look at: one HTML file with its tables, curves, costs, rollouts and settings."""
