"""The accounts: passwords, and the files that hold them."""
