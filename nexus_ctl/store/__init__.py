"""The store: the database and its migrations, the state lock. A memory; what exists is read from the world."""
