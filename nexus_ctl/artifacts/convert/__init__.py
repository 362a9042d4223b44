"""Safetensors become a GGUF: what each class is laid out as, and the child program that writes it."""
