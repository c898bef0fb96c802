"""``python -m baikalctl``, for this checkout; on a host it is ``baikalctl``."""

import sys

from baikalctl.cli import main

sys.exit(main())
