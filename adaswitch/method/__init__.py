"""The method of the paper and its relatives, as pure code: no network, no Ray, no vLLM, no files."""
