"""What runs: the files of the server, its containers, the configuration and certificate that nginx has."""
