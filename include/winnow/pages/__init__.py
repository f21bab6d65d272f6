"""What pages are made of: templates with one style, charts, and figures in words."""
