"""`python -m winnow` is the `winnow` command."""

import sys

from winnow.cli import main

sys.exit(main())
