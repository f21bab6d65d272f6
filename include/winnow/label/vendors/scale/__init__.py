"""Scale, over its REST API: `client` is the adapter."""
