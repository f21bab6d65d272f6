"""Validate: figures of a batch's labels in SQL, Great Expectations as the gate and the record."""
