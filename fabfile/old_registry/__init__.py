"""A registry that the old scripts set up."""
