"""``python -m hftpipe.simulation.feed_campaign``."""

import sys

from hftpipe.simulation.feed_campaign.run import main

if __name__ == "__main__":
    sys.exit(main())
