"""Execution: one function per action, and the walk over the plan's graph. It acts and decides nothing."""
