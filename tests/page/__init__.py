"""The page in a real Chromium: most of it against a small server of files in the form that the real one has."""
