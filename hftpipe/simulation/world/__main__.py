"""``python -m hftpipe.simulation.world``."""

import sys

from hftpipe.simulation.world.run import main

if __name__ == "__main__":
    sys.exit(main())
