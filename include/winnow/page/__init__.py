"""Pieces of pages that are one HTML file: markup, pictures, nothing loaded from elsewhere."""
