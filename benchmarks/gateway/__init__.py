"""What the gateway costs, side by side with others in one run. See `__main__`."""
