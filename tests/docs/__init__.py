"""The documents: how they are read by their tests, and the pages that are made from other files."""
