"""What all tests share: the fixtures of the private Docker engine."""

pytest_plugins = ["tests.fixtures.docker_engine"]
