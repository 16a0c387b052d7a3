"""The teacher service: a language model that answers per-token log-probability requests over REST."""
