"""The rings of the pipeline as Python saw them, and the checker that holds them to it."""

import zlib
from typing import Any

import numpy as np

from hftpipe.core.machine.jit import jit
from hftpipe.core.machine.mem import U64, load_i64, view
from hftpipe.core.schema.records import RECORD_BYTES
from hftpipe.core.schema.ring import RING, RING_HEADER_BYTES
from hftpipe.simulation.world.checkers.rules import Checker
from hftpipe.simulation.world.truth import Fields, fields_of
from hftpipe.simulation.world.words import WORD_BYTES, word_of, words_of
from hftpipe.topology.graph import RingSpec

_NEXT_IN, _NEXT_OUT = word_of(RING, "next_in"), word_of(RING, "next_out")
#: A ring and its mirror, as compiled code compares them: addresses of the ring and of the image of its slots, the words of
#: both, the number of its reader, and how many records have been pushed and popped.
_PAIR = np.dtype(
    [("ring", "u8"), ("image", "u8"), ("words", "i8"), ("reader", "i8"), ("pushed", "u8"), ("popped", "u8")], align=True
)
_PUSHED, _POPPED = word_of(_PAIR, "pushed"), word_of(_PAIR, "popped")
_SLOTS, _WORD, _PAIR_BYTES = np.uint64(RING_HEADER_BYTES), np.uint64(WORD_BYTES), np.uint64(_PAIR.itemsize)


@jit
def _has_moved(pairs, count):
    """Whether any of ``count`` rings has been written to or read from since its mirror was brought up to date."""
    moved = U64(0)
    for index in range(count):
        pair = view(U64(pairs) + U64(index) * _PAIR_BYTES, _PAIR)
        ring = view(pair.ring, RING)
        moved |= (ring.next_in ^ pair.pushed) | (ring.next_out ^ pair.popped)
    return moved != U64(0)


@jit
def _altered(pairs, count, reader):
    """The first of ``count`` rings with this reader of which a slot is not as its image says, or -1."""
    for number in range(count):
        pair = view(U64(pairs) + U64(number) * _PAIR_BYTES, _PAIR)
        if pair.reader != reader:
            continue
        differs = np.int64(0)
        for index in range(pair.words):
            at = U64(index) * _WORD
            differs |= load_i64(pair.ring + _SLOTS + at) ^ load_i64(pair.image + at)
        if differs != 0:
            return np.int64(number)
    return np.int64(-1)


class RingMirror:
    """A ring (its reader has a number) as Python saw it: the slots as they must look, and what was pushed and popped in the last step."""

    def __init__(self, spec: RingSpec, number: int, memory: np.ndarray, pair: np.ndarray) -> None:
        self.name, self.kind, self.writer, self.reader = spec.name, spec.kind, spec.writer, spec.reader
        self.header = memory[:RING_HEADER_BYTES].view(RING)
        self.words = words_of(memory[:RING_HEADER_BYTES])
        self.capacity = int(self.header["capacity"][0])
        self.slots = memory[RING_HEADER_BYTES:][: self.capacity * RECORD_BYTES].reshape(self.capacity, RECORD_BYTES)
        self._image = self.slots.reshape(-1).copy()
        pair["ring"], pair["image"] = memory.ctypes.data, self._image.ctypes.data
        pair["reader"] = self.reader_number = number
        pair["words"] = self.capacity * RECORD_BYTES // WORD_BYTES
        self._pair, self.pair_at = words_of(pair), pair.ctypes.data
        self.pushed_count = self.popped_count = 0
        #: What has been pushed and not popped: the records, and their fields.
        self.unread: list[bytes] = []
        self._unread_fields: list[Fields] = []
        self.pushed: list[Fields] = []
        self.popped: list[Fields] = []
        self.digest = 0

    def push(self, raw: bytes, fields: Fields) -> None:
        """The writer has pushed a record."""
        self.unread.append(raw)
        self._unread_fields.append(fields)
        self.pushed.append(fields)
        # The stamps of the time-stamp counter differ from run to run.
        self.digest = zlib.crc32(raw[24:], self.digest)

    def end_push(self, written: int, slots: bytes) -> None:
        """The writer has pushed all up to ``written``, and the slots look like this now."""
        self.pushed_count = self._pair[_PUSHED] = written
        self._image[:] = np.frombuffer(slots, np.uint8)

    def pop(self, read: int) -> None:
        """The reader is done with all up to ``read``."""
        count = read - self.popped_count
        self.popped = self._unread_fields[:count]
        del self.unread[:count], self._unread_fields[:count]
        self.popped_count = self._pair[_POPPED] = read

    def overwritten(self, written: int, slots: bytes) -> int | None:
        """Number of the newest of the unread records before ``written`` that is not in the slots as it was written, if any."""
        oldest = written - len(self.unread)
        first, end = oldest % self.capacity * RECORD_BYTES, len(self.unread) * RECORD_BYTES
        if (slots[first:] + slots[:first])[:end] == b"".join(self.unread):
            return None
        found = [
            number
            for number, raw in enumerate(self.unread, oldest)
            if slots[number % self.capacity * RECORD_BYTES :][:RECORD_BYTES] != raw
        ]
        return found[-1]


def mirrors_of(graph: Any, region: Any) -> dict[str, RingMirror]:
    """A mirror of each ring of a pipeline, by name; ``region`` gives the memory of a name."""
    pairs = np.zeros(len(graph.rings), _PAIR)
    return {
        spec.name: RingMirror(spec, graph.stages.index(spec.reader), region(f"ring.{spec.name}"), pairs[i : i + 1])
        for i, spec in enumerate(graph.rings)
    }


class RingChecker(Checker):
    """I9: records are read once, in order, as written; the writer never overwrites what is unread."""

    name = "ring"

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._rings: list[RingMirror] = list(world.rings.values())
        self._first = min(ring.pair_at for ring in self._rings)
        #: Numbers of the stages that read a ring.
        self._numbers = {ring.reader: ring.reader_number for ring in self._rings}
        #: The market as each venue's strategy and simulated exchange get it.
        self._pairs = list(zip(world.rings_of("market"), world.rings_of("sim"), strict=True))
        #: Whose records of the last step are still noted.
        self.noted: list[RingMirror] = []

    def before(self, stage: str) -> None:
        reader = self._numbers.get(stage)
        if reader is None:
            return
        number = _altered(self._first, len(self._rings), reader)
        if number >= 0:
            self.fail(f"{self._rings[number].name}: a record changed between its writer and its reader")

    def after(self, stage: str) -> None:
        for ring in self.noted:
            ring.pushed, ring.popped = [], []
        self.noted.clear()
        # Most steps leave most rings alone, and many leave all.
        if _has_moved(self._first, len(self._rings)):
            self._follow(stage)

    def _follow(self, stage: str) -> None:
        for ring in self._rings:
            if ring.writer == stage:
                self._pushed(ring)
            elif ring.words[_NEXT_IN] != ring.pushed_count:
                self.fail(f"{ring.name}: {stage} is not its writer and has written to it")
            if ring.reader == stage:
                self._popped(ring)
            elif ring.words[_NEXT_OUT] != ring.popped_count:
                self.fail(f"{ring.name}: {stage} is not its reader and has read from it")
            if ring.pushed or ring.popped:
                self.noted.append(ring)
        self._same_market()

    def _pushed(self, ring: RingMirror) -> None:
        written = ring.words[_NEXT_IN]
        if written == ring.pushed_count:
            return
        if written - ring.popped_count > ring.capacity:
            self.fail(f"{ring.name}: {written - ring.popped_count} unread records in {ring.capacity} slots")
        slots = ring.slots.tobytes()
        for index in range(ring.pushed_count, written):
            at = index % ring.capacity * RECORD_BYTES
            raw = slots[at : at + RECORD_BYTES]
            fields = fields_of(raw)
            if fields.seq != index + 1:
                self.fail(f"{ring.name}: record {index} has sequence {fields.seq}")
            ring.push(raw, fields)
        overwritten = ring.overwritten(written, slots)
        if overwritten is not None:
            self.fail(f"{ring.name}: unread record {overwritten} was overwritten")
        ring.end_push(written, slots)

    def _popped(self, ring: RingMirror) -> None:
        read = ring.words[_NEXT_OUT]
        if read > ring.pushed_count:
            self.fail(f"{ring.name}: {read} records read, {ring.pushed_count} written")
        ring.pop(read)

    def _same_market(self) -> None:
        """In the paper wiring the simulated venue gets what the strategy gets."""
        if not self.world.plan.is_paper:
            return
        for market, sim in self._pairs:
            if (market.pushed_count, market.digest) != (sim.pushed_count, sim.digest):
                self.fail(f"{market.name} and {sim.name}: not the same records")
