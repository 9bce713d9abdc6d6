"""The gateway with a journal: nothing leaves that is not in it, and where it cannot be written, cancels still leave."""

import errno

import numpy as np
import pytest
from memory import address
from risk_rig import E8, NOW
from test_gateway_stage import GatewayRig

from hftpipe.core.machine.jit import entry, jit
from hftpipe.core.machine.mem import view
from hftpipe.core.schema.layout import aligned
from hftpipe.core.schema.reasons import JOURNAL_UNWRITABLE, VENUE_BUSY
from hftpipe.core.schema.records import ACK, CANCEL, CANCEL_REJECT, FILL, NEW, RECORD, REJECT, REPLACE
from hftpipe.core.shared.cell import set_halt
from hftpipe.journal.append import journal_begin
from hftpipe.journal.fold import Fold
from hftpipe.journal.layout import ENTRY, ENTRY_BYTES, FILE_BEGIN, FILL_DETAIL, JOURNAL, OWN_REQUEST

SLOTS = 128


@jit
def _note(venue, request):
    """The venue sees what the journal has at the moment it is handed a request: the last entry's id and kind."""
    j = view(view(venue, WATCHING).journal, JOURNAL)
    last = view(j.at - np.uint64(ENTRY_BYTES), ENTRY)
    r = view(request, RECORD)
    if last.id != r.id or last.kind != r.kind:
        view(venue, WATCHING).unwritten += 1
    view(venue, WATCHING).seen += 1


WATCHING = np.dtype([("journal", "u8"), ("unwritten", "i8"), ("seen", "i8"), ("taken", "i8")])


@entry("int64(uint64, int64)")
def watching_submit(venue, request):
    _note(venue, np.uint64(request))
    return view(venue, WATCHING).taken


class JournalRig(GatewayRig):
    """A gateway whose journal is one small file in memory."""

    def __init__(self, slots: int = SLOTS, reserve: int = 16) -> None:
        super().__init__()
        self.file = aligned(slots * ENTRY_BYTES)
        self.journal = aligned(JOURNAL.itemsize).view(JOURNAL)
        self.journal["next_at"], self.journal["next_seed"] = address(self.file), 5
        self.journal["next_end"], self.journal["reserve"] = address(self.file) + (slots - 1) * ENTRY_BYTES, reserve
        self.journal["next_number"] = 1
        journal_begin(address(self.journal), np.int64(1))
        self.state["journal"] = address(self.journal)

    def entries(self) -> list[tuple[int, int]]:
        """(kind, id) of every entry behind the first."""
        rows = self.file.view(ENTRY)[: int(self.journal["seq"][0])]
        assert rows["kind"][0] == FILE_BEGIN
        return [(int(row["kind"]), int(row["id"])) for row in rows[1:]]

    def watch(self, taken: int = 1) -> np.ndarray:
        """Put a venue behind the gateway that looks into the journal whenever it is sent something."""
        watching = np.zeros(1, WATCHING)
        watching["journal"], watching["taken"] = address(self.journal), taken
        self.state["venue"], self.state["venue_submit"] = watching.ctypes.data, watching_submit.address
        self.state["venue_poll"] = never.address
        return watching


@entry("int64(uint64, int64)")
def never(venue, out):
    return np.int64(0)


@pytest.fixture
def rig() -> JournalRig:
    return JournalRig()


def test_a_request_stands_in_the_journal_before_the_venue_has_it(rig):
    watching = rig.watch()
    rig.order(id=1)
    rig.order(id=2)
    rig.order(id=1, kind=REPLACE, qty=3 * E8)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    assert watching["seen"][0] >= 3 and watching["unwritten"][0] == 0
    assert rig.entries()[:2] == [(NEW, 1), (NEW, 2)]


def test_cancels_of_a_stop_are_in_it_too_and_known_as_its_own(rig):
    rig.working(1, 2)
    set_halt(rig.halt, True, 3, NOW)
    rig.step()
    assert rig.entries()[-2:] == [(CANCEL, 1), (CANCEL, 2)]
    assert rig.file.view(ENTRY)["b"][int(rig.journal["seq"][0]) - 1] == OWN_REQUEST


def test_what_the_venue_does_not_take_is_taken_back(rig):
    rig.working(1)
    before = rig.entries()
    rig.fake["busy"] = 1
    rig.order(id=2)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    assert rig.reported() == [(REJECT, 2, VENUE_BUSY), (CANCEL_REJECT, 1, VENUE_BUSY)]
    assert rig.entries() == before and rig.journal["withdrawn"][0] == 2
    set_halt(rig.halt, True, 3, NOW)
    for _ in range(1000):
        rig.step()
    assert rig.entries() == before, "a venue that stays busy does not fill the journal"


def test_a_fill_is_written_with_its_number_price_fee_times_and_the_venues_number_of_the_order(rig):
    rig.order(id=1, qty=3 * E8)
    rig.answer(kind=ACK, id=1, qty=3 * E8, venue_id=77, exchange_ts=5)
    rig.answer(kind=FILL, id=1, qty=2 * E8, trade_id=9, exchange_ts=6, fee=123, flags=1)
    rig.step(now_ns=1000)
    rows = rig.file.view(ENTRY)[: int(rig.journal["seq"][0])]
    fill, detail = rows[-2], rows[-1]
    assert (fill["kind"], fill["a"], fill["b"], fill["qty"], fill["flags"]) == (FILL, 9, 123, 2 * E8, 1)
    assert (detail["kind"], detail["a"], detail["b"]) == (FILL_DETAIL, 77, 6)
    assert (detail["price"], detail["qty"], detail["time_ns"]) == (2 * E8, E8, 1000)
    # Told twice it is one.
    rig.answer(kind=FILL, id=1, qty=2 * E8, trade_id=9, exchange_ts=6, fee=123, flags=1)
    rig.step()
    assert int(rig.journal["seq"][0]) == len(rows)


def test_without_room_orders_are_refused_by_name_and_cancels_leave(rig):
    sent, refused = [], []
    for id_ in range(1, SLOTS + 1):
        rig.order(id=id_)
        rig.step()
        sent += rig.requests()
        refused += rig.reported()
    room = int(rig.journal["reserve"][0])
    assert len(sent) == SLOTS - 2 - room and all(
        (kind, flags) == (REJECT, JOURNAL_UNWRITABLE) for kind, _, flags in refused
    )
    assert rig.count("unjournaled") == len(refused) == SLOTS - len(sent)
    for _, id_ in sent:
        rig.order(id=id_, kind=CANCEL)
    rig.step()
    assert rig.requests() == [(CANCEL, id_) for _, id_ in sent], "every one, journal or not"
    assert rig.journal["missed"][0] == len(sent) - room


def test_a_failed_disk_ends_new_orders_and_nothing_else(rig):
    rig.working(1)
    rig.journal["failed"] = errno.EIO
    rig.order(id=2)
    rig.order(id=1, kind=REPLACE, qty=2 * E8)
    rig.order(id=1, kind=CANCEL)
    rig.step()
    assert rig.requests() == [(CANCEL, 1)]
    assert rig.reported() == [(REJECT, 2, JOURNAL_UNWRITABLE), (CANCEL_REJECT, 1, JOURNAL_UNWRITABLE)]


def test_what_is_refused_for_a_halt_is_not_in_it(rig):
    set_halt(rig.halt, True, 3, NOW)
    rig.order(id=1)
    rig.step()
    assert rig.requests() == [] and rig.entries() == []


def test_an_order_is_found_again_as_the_gateway_had_it(rig):
    rig.order(id=1, qty=3 * E8)
    rig.answer(kind=ACK, id=1, qty=3 * E8, venue_id=77)
    rig.order(id=2, qty=E8)
    rig.step()
    rig.order(id=1, kind=REPLACE, qty=5 * E8)
    rig.step()
    rig.answer(kind=FILL, id=1, qty=E8, trade_id=1)
    rig.step()
    rig.order(id=1, kind=CANCEL)
    rig.step()
    fold = Fold(2)
    fold.add(rig.file.view(ENTRY)[: int(rig.journal["seq"][0])])
    found = {int(one["id"]): one for one in fold.open_orders()}
    assert set(found) == {1, 2} and found[1]["filled"] == E8 and found[1]["venue_id"] == 77
    assert (found[1]["new_qty"], found[1]["under_way"]) == (5 * E8, 3) and rig.state_of(1) == "PENDING_CANCEL"
