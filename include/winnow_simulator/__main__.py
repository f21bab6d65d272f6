"""`python -m winnow_simulator`: the labelling-vendor simulator."""

from winnow_simulator.command import main

if __name__ == "__main__":
    raise SystemExit(main())
