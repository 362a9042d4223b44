"""Manifests: YAML text → documents with their places → typed resources → one Stack, or every fault at once."""
