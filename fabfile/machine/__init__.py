"""A machine: reach it, run commands and functions on it, one at a time."""
