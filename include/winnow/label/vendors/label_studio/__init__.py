"""Label Studio, self-hosted, over its REST API: `client` is the adapter."""
