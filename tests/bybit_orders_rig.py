"""One account at Bybit without a network (:mod:`orders_rig`)."""

from typing import Any

from orders_rig import Account

from hftpipe.core.machine.system_clock import steady_ns
from hftpipe.venues.bybit.orders.errors import ERRORS
from hftpipe.venues.bybit.orders.market import ALIVE
from hftpipe.venues.bybit.orders.reply import HEADERS, reply_entry
from hftpipe.venues.bybit.orders.scan import SCAN_BYTES, scan_entry
from hftpipe.venues.bybit.orders.wire import RestWire, Wire
from hftpipe.venues.orders.setup import Speech, Terms

ID = 0x0102_0000_65A1_0007
ORDER_ID = "a4c1718e-0000-4659-a118-1f6ecce04ad9"


class Desk(Account):
    """An account at Bybit."""

    def __init__(self, category: str = "linear", windows: dict[int, int] | None = None, calls: int = 0) -> None:
        self.category = category
        wire = Wire(category, 5000)
        if calls:
            wire = RestWire(category, 5000, "https://api.example", "the-api-key")
        speech = Speech(
            wire.templates,
            wire.variants,
            ERRORS,
            scan_entry.address,
            SCAN_BYTES,
            reply_entry.address,
            HEADERS,
            alive=ALIVE,
            alive_every_s=20.0,
            fees_in_received=category == "spot",
        )
        super().__init__(Terms(1 if calls else 2, False, 60.0, 60.0, 600.0, windows or {}, calls), speech)
        # The first sign of life is not due yet.
        self.account["alive_ns"] = steady_ns() + 10**12

    def answer(self, request: dict[str, Any], code: int = 0, **header: str) -> None:
        data = {"orderId": ORDER_ID, "orderLinkId": request["args"][0]["orderLinkId"]} if not code else {}
        self.say(
            {
                "reqId": request["reqId"],
                "retCode": code,
                "retMsg": "x",
                "op": request["op"],
                "data": data,
                "header": header,
            }
        )

    def tell(self, topic: str, *items: dict[str, Any], **other: Any) -> None:  # type: ignore[override]
        self.say(
            {"id": "1", "topic": f"{topic}.{self.category}", "creationTime": 1, "data": list(items), **other},
            len(self.theirs) - 1,
        )

    def order(self, id_: int = ID, status: str = "New", **fields: Any) -> dict[str, Any]:
        return {
            "category": self.category, "symbol": "BTCUSDT", "orderId": ORDER_ID, "orderLinkId": self.text(id_), "side": "Buy",
            "orderStatus": status, "cancelType": "UNKNOWN", "rejectReason": "EC_NoError", "price": "61000", "qty": "0.010",
            "leavesQty": "", "cumExecQty": "0", "avgPrice": "", "updatedTime": "1790000000128", "reduceOnly": False,
        } | fields  # fmt: skip

    def execution(self, qty: str, number: int, id_: int = ID, **fields: Any) -> dict[str, Any]:
        return {
            "category": self.category, "symbol": "BTCUSDT", "orderId": ORDER_ID, "orderLinkId": self.text(id_),
            "orderPrice": "61000", "orderQty": "0.010", "execId": f"7e2ae69c-0000-5800-a352-{number:012x}", "execPrice": "61000",
            "execQty": qty, "execFee": "0.0488", "feeCurrency": "USDT", "execType": "Trade", "execTime": "1790000000127",
            "isMaker": True,
        } | fields  # fmt: skip
