"""A GGUF becomes a smaller one: which type each tensor gets, and the child program that writes it."""
