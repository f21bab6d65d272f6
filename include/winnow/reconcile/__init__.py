"""The name in version 0.3 of `winnow.operate.reconcile`, for scripts that import it; until 0.5."""
