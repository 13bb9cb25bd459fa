"""The registry, asked on the server."""
