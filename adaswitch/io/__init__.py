"""The shared side effects: the network, Ray, files and data sets. The rest of ``adaswitch`` imports none of it."""
