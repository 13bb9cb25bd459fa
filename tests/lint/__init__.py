"""What `./inv lint` looks at beside ruff and mypy."""
