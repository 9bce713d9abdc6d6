"""pybit on a local venue: ``PORT spot|linear``. Prints as JSON the frames that it received, its markets, and the book of REST at the end.

pybit merges the levels of a book itself, in an order of its own: its raw frames are what is looked at.
"""

import json
import sys
import time
import urllib.request
from typing import Any

import pybit.unified_trading as ut


def control(port: int, **asked: object) -> None:
    body = json.dumps(asked).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/control", body, headers), timeout=10).read()


class Tapped(ut.WebSocket):
    """A client that keeps its frames."""

    def __init__(self, **settings: Any) -> None:
        self.frames: list[dict[str, Any]] = []
        super().__init__(**settings)

    def _on_message(self, message: str) -> None:
        self.frames.append(json.loads(message))
        # An answer on this machine can come before pybit has noted what it has asked for.
        time.sleep(0.002)
        super()._on_message(message)


def main(port: int, category: str) -> None:
    ut.PUBLIC_WSS = f"ws://127.0.0.1:{port}/v5/public/{{CHANNEL_TYPE}}"
    rest = ut.HTTP(testnet=False)
    rest.endpoint = f"http://127.0.0.1:{port}"
    client, heard = Tapped(testnet=False, channel_type=category, ping_interval=2, ping_timeout=1), []
    client.orderbook_stream(50, "BTCUSDT", heard.append)
    client.trade_stream("BTCUSDT", heard.append)
    client.ticker_stream("BTCUSDT", heard.append)
    time.sleep(5.0)
    control(port, freeze=True)
    time.sleep(0.5)
    book = rest.get_orderbook(category=category, symbol="BTCUSDT", limit=50)["result"]
    markets = [one["symbol"] for one in rest.get_instruments_info(category=category)["result"]["list"]]
    control(port, freeze=False)
    client.exit()
    print(json.dumps({"frames": client.frames, "book": book, "markets": markets, "heard": len(heard)}))


main(int(sys.argv[1]), sys.argv[2])
