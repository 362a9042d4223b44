"""Artifacts: model files on disk, content-addressed and verified. One port, one source adapter per origin."""
