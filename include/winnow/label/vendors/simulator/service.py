"""The name in version 0.3 of `python -m winnow_simulator`, for scripts; until 0.5."""

from winnow_simulator.command import main
from winnow_simulator.service import *  # noqa: F403

if __name__ == "__main__":
    raise SystemExit(main())
