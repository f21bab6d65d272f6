"""The labelling-vendor simulator as a vendor: the adapter to `winnow_simulator`."""
