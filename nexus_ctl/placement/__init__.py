"""Placement: where a replica goes (`fit`, `exact`, `evict`, `options`), and what it takes there, engine by engine."""
