"""THE MAP: which stages there are, which rings and cells join them, and what is measured between them. Pure data.

::

              CPU 0                CPU 1               CPU 2              CPU 3
   venue ─▶ MARKET DATA ─market─▶ STRATEGY ─intents─▶ RISK ─orders─▶ GATEWAY ─▶ venue
              │ top-of-book cells ──────────────────▶ │                │
              │                     ◀────updates───── │ ◀───reports─── │ ◀─ acks, fills
              └──────────── sim (paper mode: the market records, for the simulated exchange) ──▶│

Five rings carry 64-byte records, each with one writer and one reader. In paper mode a sixth carries the market records
to the gateway, where the simulated exchange answers orders; it has the same records at the same index as ``market``.
``progress`` (written by risk) says up to which index all orders have reached the gateway, so that the simulated
exchange never sees a market event before an order that was decided on an earlier one.
"""

from dataclasses import dataclass

STAGES = ("market_data", "strategy", "risk", "gateway")


#: Regions of the tapes by stage; laid out only when the run is recorded.
TAPES = {stage: f"tape.{stage}" for stage in STAGES}


@dataclass(frozen=True)
class RingSpec:
    """One ring: who writes, who reads, what it carries."""

    name: str
    writer: str
    reader: str
    carries: str


RINGS = (
    RingSpec("market", "market_data", "strategy", "LEVEL TOP TRADE BOOK_RESET BOOK_STATE TIMER"),
    RingSpec("intents", "strategy", "risk", "NEW CANCEL REPLACE"),
    RingSpec("orders", "risk", "gateway", "NEW CANCEL REPLACE, approved"),
    RingSpec("reports", "gateway", "risk", "ACK REPLACED FILL CANCELED EXPIRED REJECT CANCEL_REJECT"),
    RingSpec("updates", "risk", "strategy", "reports, and risk's own rejects"),
    RingSpec("sim", "market_data", "gateway", "the market records, for the simulated exchange"),
)

#: Latency histograms: name, from, to.
HOPS = (
    ("kernel_to_market", "received by the kernel", "bytes received (venue udp, with kernel stamps)"),
    ("decode", "bytes received", "update published"),
    ("market_to_strategy", "bytes received", "record read by the strategy stage"),
    ("strategy", "hook called", "hook returned"),
    ("strategy_to_risk", "intent sent", "intent read by risk"),
    ("risk", "checks begun", "verdict"),
    ("tick_to_risk", "bytes received", "order approved and sent on"),
    ("risk_to_gateway", "order sent on", "order read by the gateway"),
    ("tick_to_order", "bytes received", "order handed to the venue"),
)

ORDER_SLOTS = {"strategy": 1024, "risk": 4096, "gateway": 4096, "exchange": 1024}
#: Executions that the gateway tells a repetition of.
SEEN_FILLS = 8192
#: After the last recorded event time runs on this much beyond the slowest round trip, to settle orders in flight.
DRAIN_NS = 100_000_000
