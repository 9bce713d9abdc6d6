"""From the engine to the topics of one category: play what is due, remember what was traded, tell who listens.

Trades are told once the events that are due have been played, all of one symbol in one message; books and tickers on multiples of
their interval, if anything has changed. Who comes later gets the levels that were last told, so that the next change fits.
"""

from collections import defaultdict

import numpy as np
import orjson

from hftpipe.core.schema.records import ASK, BID, LAST, LEVEL, TRADE
from hftpipe.simulation.bybit_server import payloads
from hftpipe.simulation.bybit_server.books import BookStream, Change
from hftpipe.simulation.bybit_server.payloads import DELTA, SNAPSHOT, Payload
from hftpipe.simulation.bybit_server.settings import REPEAT_MS, CategoryRules
from hftpipe.simulation.bybit_server.topics import BOOK, TICKER, TRADES, Listener, Meaning, Topic, meaning_of
from hftpipe.simulation.market_server.clock import VenueClock
from hftpipe.simulation.market_server.event_faults import EventFaults
from hftpipe.simulation.market_server.history import Trade
from hftpipe.simulation.market_server.market import Asked, Market
from hftpipe.simulation.market_server.symbols import Symbol, Symbols

_MOST_EVENTS = 4096
#: More than this behind, the flow is taken to be slower than it was asked to be.
_BEHIND_NS = 1_000_000_000
_TRADES_MOST = 1024
_MS_NS = 1_000_000
_REST_DEPTH = 1000


class Feed:
    """One category with its topics.

    Attributes:
        market: the engine; symbols: what it lists, with what was traded; rules: of the category; clock: the venue's.
        behind: how often the flow was slower than asked for; asked_twice: subscriptions to what a connection had already.
    """

    def __init__(self, market: Market, symbols: Symbols, clock: VenueClock, faults: EventFaults) -> None:
        self.market, self.symbols, self.clock, self._faults = market, symbols, clock, faults
        self.rules: CategoryRules = market.listing.rules
        self.behind = self.asked_twice = 0
        self._topics: dict[str, Topic] = {}
        #: What has been told of each book, also while nobody listens: numbers go on.
        self._books: dict[tuple[int, int], BookStream] = {}
        self._tickers: dict[int, Payload] = {}
        self._moments = defaultdict[int, int](int)
        self._traded: dict[int, list[Payload]] = {}
        self._seqs: dict[tuple[int, int], int] = {}

    def _now_ms(self) -> int:
        return self.clock.now_ns // _MS_NS

    def follow(self, name: str, listener: Listener) -> bool:
        """Let somebody hear a topic from now on, which begins with what it is now; False: it means nothing here."""
        topic = self._topics.get(name)
        if topic is None:
            meaning = meaning_of(name, self.rules, self.symbols)
            if meaning is None:
                return False
            every = meaning.every_ms
            due = (self._now_ms() // every + 1) * every if every else 0
            topic = self._topics[name] = Topic(name, meaning, due)
            self._open(meaning)
        topic.listeners[listener] = None
        if topic.meaning.kind != TRADES:
            listener.say(self._whole(topic))
        return True

    def leave(self, name: str, listener: Listener) -> None:
        """He hears the topic no longer."""
        topic = self._topics.get(name)
        if topic is not None:
            topic.listeners.pop(listener, None)
            if not topic.listeners:
                del self._topics[name]

    def _open(self, meaning: Meaning) -> None:
        if meaning.kind == BOOK:
            self._look(meaning.symbol, meaning.depth)
        elif meaning.kind == TICKER:
            self._tickers[meaning.symbol.index] = self._ticker(meaning.symbol)

    def _stream(self, symbol: Symbol, depth: int) -> BookStream:
        first = self.clock.start_ns // _MS_NS % 10**7 + depth
        return self._books.setdefault((symbol.index, depth), BookStream(first))

    def _look(self, symbol: Symbol, depth: int) -> tuple[Change, Change] | None:
        """Bring what is told of a book to now: what has changed, None: nothing."""
        stream, index = self._stream(symbol, depth), symbol.index
        last = self.market.update_id(index)
        if stream.looked_at == last:
            return None
        stream.looked_at = last
        bids, asks = (self.market.side(index, side, depth) for side in (BID, ASK))
        moment = self._moments[index] or self.clock.now_ns
        return stream.look(bids, asks, last, moment // _MS_NS)

    def rest_book(self, symbol: Symbol) -> BookStream:
        """The book of now as the stream of most levels has it: REST tells that one's number."""
        if f"{BOOK}.{_REST_DEPTH}.{symbol.name}" not in self._topics:
            self._look(symbol, _REST_DEPTH)
        return self._stream(symbol, _REST_DEPTH)

    def _ticker(self, symbol: Symbol) -> Payload:
        top, fair = self.market.top(symbol.index), self.market.fair_price(symbol.index)
        return payloads.ticker(symbol, self.rules, top, fair, self._now_ms(), False)

    def _book_text(self, topic: Topic, kind: str, changes: tuple[Change, Change]) -> str:
        meaning, symbol = topic.meaning, topic.meaning.symbol
        stream, now = self._stream(symbol, meaning.depth), self._now_ms()
        stream.told_ms = now
        made = payloads.book(topic.name, kind, symbol, self.rules, stream, changes, meaning.depth, now)
        return orjson.dumps(made).decode()

    def _whole_book(self, topic: Topic) -> str:
        stream = self._stream(topic.meaning.symbol, topic.meaning.depth)
        return self._book_text(topic, SNAPSHOT, (list(stream.bids.items()), list(stream.asks.items())))

    def _ticker_text(self, topic: Topic, kind: str, fields: Payload) -> str:
        seq = self.market.update_id(topic.meaning.symbol.index)
        made = payloads.tickers(topic.name, kind, self.rules, fields, seq, self._now_ms())
        return orjson.dumps(made).decode()

    def _whole(self, topic: Topic) -> str:
        """What a topic begins with for who has just come."""
        if topic.meaning.kind == BOOK:
            return self._whole_book(topic)
        return self._ticker_text(topic, SNAPSHOT, self._tickers[topic.meaning.symbol.index])

    def advance(self) -> None:
        """Play what is due by the clock, and tell of it."""
        self._seqs.clear()
        self._play()
        self._tell_trades()
        now_ms = self._now_ms()
        for topic in [one for one in self._topics.values() if one.due_ms and now_ms >= one.due_ms]:
            topic.due_ms = (now_ms // topic.meaning.every_ms + 1) * topic.meaning.every_ms
            if topic.meaning.kind == BOOK:
                self._tell_book(topic)
            else:
                self._tell_ticker(topic)

    def _when(self, flow_ns: int) -> int:
        """The venue's time of an event; the first one of a flow may come a moment early."""
        return min(self.clock.when(flow_ns), self.clock.now_ns)

    def order(self, index: int, asked: Asked) -> int:
        """Carry out now what an account asks of a book: what it came to. What that changes is told in its turn."""
        reason, records = self.market.order(index, asked, self.clock.flow_ns)
        self._take(records)
        return reason

    def seq_of(self, index: int, trade_id: int) -> int:
        """The engine's number of a trade that has happened since the last step began."""
        return self._seqs[index, trade_id]

    def _play(self) -> None:
        self._take(self.market.play(self.clock.flow_ns, _MOST_EVENTS))
        late = self.market.next_ts()
        if late < self.clock.flow_ns - _BEHIND_NS:
            self.behind += 1
            self.clock.hold(late)

    def _take(self, records: np.ndarray) -> None:
        """Remember what the events of these records have traded, and when they changed a book."""
        columns = (records[name].tolist() for name in ("instrument", "kind", "side", "price", "qty", "id", "flags"))
        pending: list[Trade] = []
        for row, ts in zip(zip(*columns, strict=True), records["exchange_ts"].tolist(), strict=True):
            instrument, kind, side, price, qty, id_, flags = row
            if kind == TRADE:
                pending.append(Trade(id_, price, qty, self._when(ts), side == ASK))
            elif kind == LEVEL and flags & LAST:
                self._moments[instrument] = self._when(ts)
                self._take_trades(self.symbols.all[instrument], pending, id_)
                pending = []
        assert not pending, "trades without a change of the book"

    def _take_trades(self, symbol: Symbol, made: list[Trade], seq: int) -> None:
        rows, history = self._traded.setdefault(symbol.index, []), symbol.history
        for one in made:
            self._seqs[symbol.index, one.id] = seq
            before = history.trades[-1].price if history.trades else one.price
            history.add(one)
            rows.append(payloads.trade(symbol, self.rules, one, seq, before))

    def _tell_trades(self) -> None:
        traded, self._traded = self._traded, {}
        for index, rows in traded.items():
            name = f"{TRADES}.{self.symbols.all[index].name}"
            topic = self._topics.get(name)
            for at in range(0, len(rows) if topic else 0, _TRADES_MOST):
                made = payloads.trades(name, self.rules, rows[at : at + _TRADES_MOST], self._now_ms())
                self._topics[name].tell(orjson.dumps(made).decode())

    def _tell_book(self, topic: Topic) -> None:
        symbol, depth = topic.meaning.symbol, topic.meaning.depth
        changes = self._look(symbol, depth)
        stream = self._stream(symbol, depth)
        if depth == 1:
            is_quiet = changes is None
            if not is_quiet or self._now_ms() - stream.told_ms >= REPEAT_MS:
                text = self._whole_book(topic)
                self._faults.pass_on(topic, symbol.name, text) if not is_quiet else topic.tell(text)
        elif changes is not None:
            if self._faults.is_omitted(symbol.name):
                (changes[0] or changes[1]).pop()
            self._faults.pass_on(topic, symbol.name, self._book_text(topic, DELTA, changes))

    def _tell_ticker(self, topic: Topic) -> None:
        symbol = topic.meaning.symbol
        before, now = self._tickers[symbol.index], self._ticker(symbol)
        changed = {key: value for key, value in now.items() if before.get(key) != value}
        if not changed:
            return
        self._tickers[symbol.index] = now
        if self.rules.name == "spot":
            topic.tell(self._ticker_text(topic, SNAPSHOT, now))
        else:
            topic.tell(self._ticker_text(topic, DELTA, {"symbol": symbol.name} | changed))

    def begin_anew(self, symbol: str) -> None:
        """The service of the books starts anew, of one symbol or (empty) of all: whole books, numbered from 1."""
        for (index, _), stream in self._books.items():
            if symbol in ("", self.symbols.all[index].name):
                stream.begin_anew()
        for topic in self._topics.values():
            if topic.meaning.kind == BOOK and symbol in ("", topic.meaning.symbol.name):
                topic.tell(self._whole_book(topic))
