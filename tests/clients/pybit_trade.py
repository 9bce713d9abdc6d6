"""pybit trades on a local venue: ``PORT spot|linear KEY SECRET [RSA_KEY_FILE]``; prints what it was told, as JSON."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from pybit import _websocket_trading, unified_trading


class Patient:
    """An answer on this machine can come before pybit has noted what it has asked for: it is looked at a moment later."""

    def _on_message(self, message: str) -> None:
        time.sleep(0.01)
        super()._on_message(message)  # type: ignore[misc]


class Private(Patient, unified_trading.WebSocket):
    pass


class Trading(Patient, unified_trading.WebSocketTrading):
    pass


def waited(kept: list[Any], count: int) -> None:
    until = time.monotonic() + 10
    while len(kept) < count and time.monotonic() < until:
        time.sleep(0.02)


def main(port: int, category: str, key: str, secret: str, rsa_file: str = "") -> None:
    signing = {"api_key": key, "api_secret": Path(rsa_file).read_text() if rsa_file else secret}
    signing |= {"rsa_authentication": bool(rsa_file)}
    base = f"127.0.0.1:{port}"
    unified_trading.PRIVATE_WSS, _websocket_trading.TRADE_WSS = f"ws://{base}/v5/private", f"ws://{base}/v5/trade"
    rest = unified_trading.HTTP(testnet=False, **signing)
    rest.endpoint = f"http://{base}"
    private = Private(testnet=False, channel_type="private", **signing)
    told: dict[str, list[Any]] = {name: [] for name in ("order", "execution", "position", "wallet")}
    for name, kept in told.items():
        getattr(private, f"{name}_stream")(callback=lambda message, kept=kept: kept.extend(message["data"]))
    time.sleep(0.5)
    given = {"category": category, "symbol": "BTCUSDT"}
    asked = given | {"side": "Buy", "orderType": "Limit", "qty": "0.02", "timeInForce": "PostOnly"}
    price = str(int(float(rest.get_orderbook(**given)["result"]["b"][0][0])) - 50)
    placed = rest.place_order(**asked, price=price, orderLinkId=f"pybit-{category}-1-{key}")["result"]
    seen = rest.get_open_orders(**given, orderId=placed["orderId"])["result"]["list"][0]
    changed = rest.amend_order(**given, orderId=placed["orderId"], qty="0.03")["result"]
    amended = rest.get_open_orders(**given)["result"]["list"]
    rest.cancel_order(**given, orderId=placed["orderId"])
    trade = Trading(testnet=False, **signing)
    time.sleep(0.5)
    answers: list[Any] = []
    trade.place_order(answers.append, **asked, price=price, orderLinkId=f"pybit-{category}-2-{key}")
    waited(answers, 1)
    order = answers[0]["data"]["orderId"]
    trade.amend_order(answers.append, **given, orderId=order, qty="0.04")
    waited(answers, 2)
    trade.cancel_order(answers.append, **given, orderId=order)
    waited(answers, 3)
    market = given | {"orderType": "Market", "qty": "0.02"} | ({"marketUnit": "baseCoin"} if category == "spot" else {})
    bought = rest.place_order(**market, side="Buy")["result"]["orderId"]
    held = rest.get_positions(**given)["result"]["list"][0]["size"] if category == "linear" else ""
    sold = rest.place_order(**market, side="Sell", reduceOnly=category == "linear")["result"]["orderId"]
    time.sleep(0.7)
    after = rest.get_positions(**given)["result"]["list"][0]["size"] if category == "linear" else ""
    executions = rest.get_executions(**given, limit=100)["result"]["list"]
    coins = rest.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]["coin"]
    made = {
        "seen": seen["orderStatus"], "changed": changed["orderId"] == placed["orderId"],
        "amended": [one["qty"] for one in amended], "answers": [one["op"] for one in answers],
        "bought": bought, "sold": sold, "held": [held, after],
        "orders": [[one["orderId"], one["orderStatus"]] for one in told["order"]],
        "executions": [one["execId"] for one in told["execution"]],
        "listed": [one["execId"] for one in executions], "positions": [one["size"] for one in told["position"]],
        "left": len(rest.get_open_orders(**given)["result"]["list"]), "wallets": len(told["wallet"]),
        "coins": {one["coin"]: one["walletBalance"] for one in coins},
        "history": len(rest.get_order_history(**given)["result"]["list"]),
    }  # fmt: skip
    private.exit()
    trade.exit()
    print(json.dumps(made))


main(int(sys.argv[1]), *sys.argv[2:])
