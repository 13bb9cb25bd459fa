"""The images in the registry's store: what is there, what can go, what was removed and can come back."""
