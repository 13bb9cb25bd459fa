"""What each task does: one file a task, named as it. Only `bootstrap` and `adopt` call other steps."""
