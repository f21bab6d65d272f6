"""The formats of foreign files, each from bytes to one raw record a row."""
