"""What the old scripts left on the server, taken over and given back."""
