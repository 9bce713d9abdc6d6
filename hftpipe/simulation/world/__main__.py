"""``python -m hftpipe.simulation.world``."""

import sys

from hftpipe.simulation.world.run import main

sys.exit(main())
