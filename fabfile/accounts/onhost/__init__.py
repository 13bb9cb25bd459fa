"""The accounts, on the server: the accounts file, and what nginx has to know of it."""
