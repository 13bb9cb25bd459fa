"""The registry itself, as its clients see it."""
