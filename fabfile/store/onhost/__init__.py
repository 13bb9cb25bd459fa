"""What the subject store does on the server itself."""
