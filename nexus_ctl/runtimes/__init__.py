"""Runtimes: where replicas run. One port, one adapter per runtime."""
