"""What all tests share: the fixtures of the private Docker engine and of the real small model."""

pytest_plugins = ["tests.fixtures.docker_engine", "tests.fixtures.smollm2"]
