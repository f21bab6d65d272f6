"""A vendor that takes and gives files, in a folder or on S3: `client` is the adapter."""
