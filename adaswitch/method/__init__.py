"""The method of the paper and its relatives, pure: no network, no Ray, no vLLM, no files."""
