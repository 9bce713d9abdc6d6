"""``python -m hftpipe.simulation.feed_campaign``."""

import sys

from hftpipe.simulation.feed_campaign.run import main

sys.exit(main())
