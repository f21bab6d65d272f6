"""The name in version 0.3 of `winnow_simulator.faults`, for scripts that import it; until 0.5."""

from winnow_simulator.faults import *  # noqa: F403
