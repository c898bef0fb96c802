"""``python -m baikalctl`` in this checkout; a host has the command ``baikalctl``."""

import sys

from baikalctl.cli import main

sys.exit(main())
