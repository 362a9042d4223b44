"""What answers over the network: the gateway, the data plane."""
