"""The teacher's REST side: routes, keys, limits, errors, metrics. It asks an engine, and knows none by name."""
