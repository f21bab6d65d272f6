"""The shapes of rows that people bring, each a module: from a row to one `Example`."""
