"""What the subject copies does on the server itself."""
