"""The name in version 0.3 of `winnow_simulator.books`, for scripts that import it; until 0.5."""

from winnow_simulator.books import *  # noqa: F403
