"""Ingest: files of prompts in, normalised distinct prompts and quarantined rows out."""
