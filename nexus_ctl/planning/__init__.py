"""Planning: (desired, observed) → changes → plan. Pure: no I/O, no clock, no randomness; printable."""
