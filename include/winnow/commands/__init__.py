"""What the `winnow` command does: batches of a lake, and selection on its own."""
