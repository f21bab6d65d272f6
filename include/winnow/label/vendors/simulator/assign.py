"""The name in version 0.3 of `winnow_simulator.assign`, for scripts that import it; until 0.5."""

from winnow_simulator.assign import *  # noqa: F403
