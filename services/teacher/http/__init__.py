"""The teacher's REST side: routes, keys, limits, errors, metrics. It works with any engine and imports none."""
