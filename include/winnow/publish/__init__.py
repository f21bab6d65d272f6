"""Publish: preferences become the views of an immutable, versioned dataset."""
