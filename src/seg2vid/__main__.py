"""``python -m seg2vid`` is the command ``seg2vid``."""

import sys

from seg2vid.cli.main import main

sys.exit(main())
