"""Figures: what nexusctl costs, as ratios to something else in the same run. `python -m benchmarks` lists and runs."""
