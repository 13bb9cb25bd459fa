"""Copies of a registry: consistent while everybody pushes, a plain tree, and the way back."""
