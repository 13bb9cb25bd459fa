"""What runs, on the server: files, containers, nginx."""
