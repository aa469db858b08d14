"""``python -m edgefer`` is the command ``edgefer``."""

import sys

from edgefer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
