"""The name in version 0.3 of `winnow.operate.reconcile.once`, for scripts; until 0.5."""

from winnow.operate.reconcile.once import *  # noqa: F403
