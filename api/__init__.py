"""What answers over the network: the gateway (data plane) and, beside it, the read-only status API."""
