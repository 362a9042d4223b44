"""Controllers: observe → plan → assess for each kind, and the reconciler that runs them all."""
