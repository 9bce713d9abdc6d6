"""From the engine to the streams of one market: play what is due, remember what was traded, tell who listens.

Per event, in this order: its trades, then (once all its levels are known) the diffs that are told at once, the aggregate trade
on spot, the best prices. What is told at intervals is told on multiples of them, if there is anything to tell.
"""

from collections import defaultdict

import numpy as np

from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL, TOP, TRADE
from hftpipe.simulation.binance_server.payloads import DepthChange, Payload, SpotPayloads, UsdmPayloads, mark_price
from hftpipe.simulation.binance_server.premium import premium_of
from hftpipe.simulation.binance_server.settings import MarketRules
from hftpipe.simulation.binance_server.streams import (
    AGGREGATE,
    ALL_BOOK_TICKERS,
    ALL_MINI_TICKERS,
    BOOK_TICKER,
    DEPTH,
    LEGACY,
    MARK_PRICE,
    MINI_TICKER,
    PARTIAL,
    PUBLIC,
    TICKER,
    Build,
    Listener,
    Meaning,
    Stream,
    meaning_of,
)
from hftpipe.simulation.binance_server.streams import TRADE as TRADES
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.event_faults import EventFaults
from hftpipe.simulation.market_server.history import Aggregate, Trade
from hftpipe.simulation.market_server.market import Asked, Market
from hftpipe.simulation.market_server.symbols import Symbol, Symbols, day_of

_MOST_EVENTS = 4096
#: More than this behind, the flow is taken to be slower than it was asked to be.
_BEHIND_NS = 1_000_000_000


class Feed:
    """One market with its streams.

    Attributes:
        market: the engine; symbols: what it lists, with what was traded; rules: of the market; clock: the venue's.
        behind: how often the flow was slower than asked for; asked_twice: subscriptions to what a connection had already.
    """

    def __init__(self, market: Market, symbols: Symbols, clock: VenueClock, faults: EventFaults) -> None:
        self.market, self.symbols, self.clock, self._faults = market, symbols, clock, faults
        self.rules: MarketRules = market.listing.rules
        self.behind = self.asked_twice = 0
        self._payloads: SpotPayloads = UsdmPayloads() if self.rules.name == "usdm" else SpotPayloads()
        self._streams: dict[str, Stream] = {}
        self._at_once: defaultdict[int, dict[str, Stream]] = defaultdict(dict)
        self._diffs: defaultdict[int, list[Stream]] = defaultdict(list)
        self._timed: dict[str, Stream] = {}
        self._open_aggregates: dict[int, Symbol] = {}
        self._traded: set[int] = set()
        self._new_tops: set[int] = set()

    def follow(self, name: str, route: str, listener: Listener) -> None:
        """Let somebody hear a stream from now on; of what means nothing here, or is not served on his route, he hears nothing."""
        stream = self._streams.get(name)
        if stream is None:
            meaning = meaning_of(name, self.rules, self.symbols)
            if meaning is None:
                return
            stream = self._open(name, meaning)
        if self._is_served(stream.meaning, route):
            stream.listeners[listener] = None
        elif not stream.listeners:
            self._close(stream)

    def leave(self, name: str, listener: Listener) -> None:
        """He hears the stream no longer."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.listeners.pop(listener, None)
            if not stream.listeners:
                self._close(stream)

    def _is_served(self, meaning: Meaning, route: str) -> bool:
        return self.rules.name == "spot" or meaning.route == (PUBLIC if route == LEGACY else route)

    def _open(self, name: str, meaning: Meaning) -> Stream:
        now_ms, symbol = self.clock.now_ns // 1_000_000, meaning.symbol
        due = (now_ms // meaning.every_ms + 1) * meaning.every_ms if meaning.every_ms else 0
        previous = self.market.update_id(symbol.index) if symbol else 0
        stream = self._streams[name] = Stream(name, meaning, previous, due)
        if meaning.every_ms:
            self._timed[name] = stream
        elif symbol:
            self._at_once[symbol.index][meaning.kind] = stream
        if meaning.kind == DEPTH and symbol:
            self._diffs[symbol.index].append(stream)
        return stream

    def _close(self, stream: Stream) -> None:
        symbol = stream.meaning.symbol
        del self._streams[stream.name]
        self._timed.pop(stream.name, None)
        if symbol and not stream.meaning.every_ms:
            del self._at_once[symbol.index][stream.meaning.kind]
        if symbol and stream.meaning.kind == DEPTH:
            self._diffs[symbol.index].remove(stream)

    def advance(self) -> None:
        """Play what is due by the clock, and tell of it."""
        self._play()
        self._settle_aggregates()
        now_ms = self.clock.now_ns // 1_000_000
        # A clock that was set back must not silence what is due by it.
        for stream in [one for one in self._timed.values() if not 0 < one.due_ms - now_ms <= one.meaning.every_ms]:
            stream.due_ms = (now_ms // stream.meaning.every_ms + 1) * stream.meaning.every_ms
            self._tell_timed(stream)

    def order(self, index: int, asked: Asked) -> int:
        """Carry out now what an account asks of a book, and tell of what that changes; what it came to."""
        reason, records = self.market.order(index, asked, self.clock.flow_ns)
        self._tell(records)
        return reason

    def _play(self) -> None:
        self._tell(self.market.play(self.clock.flow_ns, _MOST_EVENTS))
        late = self.market.next_ts()
        if late < self.clock.flow_ns - _BEHIND_NS:
            self.behind += 1
            self.clock.hold(late)

    def _tell(self, records: np.ndarray) -> None:
        columns = (records[name].tolist() for name in ("instrument", "kind", "side", "price", "qty", "id", "flags"))
        times = records["exchange_ts"].tolist()
        bid = (0, 0)
        for instrument, kind, side, price, qty, id_, flags, ts in zip(*columns, times, strict=True):
            if kind == LEVEL:
                whole = qty + self.market.far_qty(instrument, side, price)
                for stream in self._diffs.get(instrument, ()):
                    stream.note(side, price, whole, id_, self.clock.when(ts))
                if flags & LAST:
                    self._end_event(instrument)
            elif kind == TRADE:
                self._trade(self.symbols.all[instrument], Trade(id_, price, qty, self.clock.when(ts), side == ASK))
            elif kind == TOP and side == BID:
                bid = price, qty
            elif kind == TOP:
                self._top(instrument, id_, (*bid, price, qty), self.clock.when(ts))

    def _stream_at_once(self, instrument: int, kind: str) -> Stream | None:
        streams = self._at_once.get(instrument)
        return streams.get(kind) if streams else None

    def _trade(self, symbol: Symbol, trade: Trade) -> None:
        self._traded.add(symbol.index)
        closed = symbol.history.add(trade)
        self._open_aggregates[symbol.index] = symbol
        stream, now = self._stream_at_once(symbol.index, TRADES), self.clock.now_ns
        if stream:
            stream.tell(lambda unit: self._payloads.trade(symbol, trade, now, unit))
        if closed:
            self._aggregate(symbol, closed)

    def _aggregate(self, symbol: Symbol, made: Aggregate) -> None:
        stream, now = self._stream_at_once(symbol.index, AGGREGATE), self.clock.now_ns
        if stream:
            stream.tell(lambda unit: self._payloads.aggregate(symbol, made, now, unit))

    def _settle(self, symbol: Symbol) -> None:
        made = symbol.history.settle(self.clock.now_ns)
        if made:
            del self._open_aggregates[symbol.index]
            self._aggregate(symbol, made)

    def _settle_aggregates(self) -> None:
        for symbol in list(self._open_aggregates.values()):
            self._settle(symbol)

    def _end_event(self, instrument: int) -> None:
        if not self.rules.shared_ids and instrument in self._open_aggregates:
            self._settle(self._open_aggregates[instrument])
        stream = self._stream_at_once(instrument, DEPTH)
        if stream:
            self._tell_depth(stream)

    def _top(self, instrument: int, update_id: int, top: tuple[int, int, int, int], ts: int) -> None:
        self._new_tops.add(instrument)
        stream = self._stream_at_once(instrument, BOOK_TICKER)
        if stream:
            symbol, now = self.symbols.all[instrument], self.clock.now_ns
            stream.tell(lambda unit: self._payloads.book_ticker(symbol, update_id, top, ts, now, unit))

    def _tell_depth(self, stream: Stream) -> None:
        symbol, now = stream.meaning.symbol, self.clock.now_ns
        if symbol is None or not stream.first_id:
            return
        change = stream.take(symbol)
        if self._faults.is_omitted(symbol.name):
            # The level farthest from the market: it would not soon be told anew.
            (change.bids or change.asks).pop()
        self._faults.pass_on(stream, symbol.name, lambda unit: self._payloads.depth(symbol, change, now, unit))

    def _tell_partial(self, stream: Stream, symbol: Symbol) -> None:
        index, now = symbol.index, self.clock.now_ns
        last = self.market.update_id(index)
        if last == stream.last_id:
            return
        sides = [symbol.decimals.pairs(self.market.side(index, side, stream.meaning.levels)) for side in (BID, ASK)]
        change = DepthChange(stream.previous_id + 1, last, stream.previous_id, now, *sides)
        stream.previous_id = stream.last_id = last
        stream.tell(lambda unit: self._payloads.partial(symbol, change, now, unit))

    def _tell_timed(self, stream: Stream) -> None:
        symbol = stream.meaning.symbol
        if symbol is None:
            self._tell_all(stream)
        elif stream.meaning.kind == DEPTH:
            self._tell_depth(stream)
        elif stream.meaning.kind == PARTIAL:
            self._tell_partial(stream, symbol)
        else:
            stream.tell(self._ticker(stream.meaning.kind, symbol))

    def _ticker(self, kind: str, symbol: Symbol) -> Build:
        now = self.clock.now_ns
        if kind == MARK_PRICE:
            premium = premium_of(self.market, symbol.index, now // 1_000_000)
            return lambda unit: mark_price(symbol, premium, now, unit)
        day, top = day_of(symbol, now // 1_000_000), self.market.top(symbol.index)
        if kind == TICKER:
            return lambda unit: self._payloads.ticker(symbol, day, top, now, unit)
        return lambda unit: self._payloads.mini_ticker(symbol, day, now, unit)

    def _tell_all(self, stream: Stream) -> None:
        """What has changed since it was last told: USD-M's best prices one by one, tickers as one array."""
        if stream.meaning.kind == ALL_BOOK_TICKERS:
            changed, self._new_tops = sorted(self._new_tops), set()
            for index in changed:
                stream.tell(self._book_ticker_now(self.symbols.all[index]))
            return
        assert stream.meaning.kind == ALL_MINI_TICKERS
        traded, self._traded = sorted(self._traded), set()
        builds = [self._ticker(MINI_TICKER, self.symbols.all[index]) for index in traded]
        if builds:
            stream.tell(lambda unit: [_one(build(unit)) for build in builds])

    def _book_ticker_now(self, symbol: Symbol) -> Build:
        update_id, top, now = self.market.update_id(symbol.index), self.market.top(symbol.index), self.clock.now_ns
        return lambda unit: self._payloads.book_ticker(symbol, update_id, top, now, now, unit)


def _one(payload: Payload | list[Payload]) -> Payload:
    assert isinstance(payload, dict)
    return payload
