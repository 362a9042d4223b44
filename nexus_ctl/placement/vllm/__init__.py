"""vLLM's memory: what the budget it is given leaves to its cache."""
