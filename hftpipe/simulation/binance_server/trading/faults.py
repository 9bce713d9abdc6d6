"""What a test may do to requests of accounts beyond what it may at any venue (:mod:`hftpipe.simulation.market_server.trading.faults`).

===================== ==========================================================================================================
key                   what it does
===================== ==========================================================================================================
expire_listen_keys    ``true``: no listen key is alive any more; who listens is told (USD-M)
===================== ==========================================================================================================
"""

from hftpipe.simulation.market_server.trading.faults import UNAVAILABLE, UNKNOWN

FLAGS = ("expire_listen_keys",)
#: The bodies of answers to requests that are not answered as they deserve; their status is 503.
BODIES = {
    UNKNOWN: {"code": -1000, "msg": "Unknown error, please check your request or try again later."},
    UNAVAILABLE: {"code": 0, "msg": "Service Unavailable."},
}
