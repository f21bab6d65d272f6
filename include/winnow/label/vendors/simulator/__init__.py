"""The simulator as a labelling vendor: `client` talks to the service of `winnow_simulator`."""
