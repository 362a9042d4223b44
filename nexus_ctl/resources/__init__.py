"""Resources: what may be declared, one file per kind with its field table, and the pure values that floors share."""
