"""SageMaker Ground Truth, for accounts that have it: `client` is the adapter."""
