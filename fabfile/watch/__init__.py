"""What those see who watch the registry: numbers for Prometheus, and what happened, as a list and as a command."""
