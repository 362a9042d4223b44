"""Headers of model files and the small files beside them, read here or over the network, never their weights."""
