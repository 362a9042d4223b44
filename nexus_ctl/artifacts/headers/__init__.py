"""Headers of model files, read here or over the network, never their weights."""
