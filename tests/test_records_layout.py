"""Layouts by number: a moved field is a new schema, and must be meant."""

import numpy as np
import pytest

from hftpipe.core.schema import cells, clock, histogram, instruments, position, reasons, records, ring, status
from hftpipe.core.schema.layout import offset_of
from hftpipe.core.shared import shm, stage
from hftpipe.core.trading import book, levels, order_table
from hftpipe.venues import message

#: dtype: (size, {field: (offset, size)})
LAYOUTS = {
    "RECORD": (
        records.RECORD,
        64,
        "seq:0:8 origin_tsc:8:8 exchange_ts:16:8 local_ts:24:8 price:32:8 qty:40:8 id:48:8 "
        "instrument:56:4 kind:60:1 side:61:1 strategy:62:1 flags:63:1",
    ),
    "REQUEST": (
        records.REQUEST,
        64,
        "seq:0:8 origin_tsc:8:8 sent_tsc:16:8 local_ts:24:8 price:32:8 qty:40:8 id:48:8 "
        "instrument:56:4 kind:60:1 side:61:1 strategy:62:1 flags:63:1",
    ),
    "REPORT": (
        records.REPORT,
        64,
        "seq:0:8 venue_id:8:8 exchange_ts:16:8 local_ts:24:8 price:32:8 qty:40:8 id:48:8 "
        "instrument:56:4 kind:60:1 side:61:1 strategy:62:1 flags:63:1",
    ),
    "EXECUTION": (
        records.EXECUTION,
        64,
        "seq:0:8 trade_id:8:8 exchange_ts:16:8 fee:24:8 price:32:8 qty:40:8 id:48:8 "
        "instrument:56:4 kind:60:1 side:61:1 strategy:62:1 flags:63:1",
    ),
    "RING": (
        ring.RING,
        192,
        "mask:0:8 capacity:8:8 _config:16:48 next_in:64:8 known_out:72:8 refused:80:8 lost_pending:88:8 lost:96:8 "
        "_producer:104:24 next_out:128:8 _consumer:136:56",
    ),
    "TOP_CELL": (
        cells.TOP_CELL,
        64,
        "version:0:8 bid:8:8 bid_qty:16:8 ask:24:8 ask_qty:32:8 local_ts:40:8 state:48:8 update_id:56:8",
    ),
    "HALT_CELL": (cells.HALT_CELL, 64, "version:0:8 halted:8:8 cause:16:8 local_ts:24:8 ending:32:8 _pad:40:24"),
    "BOOK": (
        book.BOOK,
        512,
        "instrument:0:8 state:8:8 bid:16:8 bid_qty:24:8 ask:32:8 ask_qty:40:8 top_id:48:8 update_id:56:8 "
        "exchange_ts:64:8 local_ts:72:8 capacity:80:8 evicted:88:8 updates:96:8 absent_deletes:104:8 waiting_bid:112:8 waiting_bid_qty:120:8 "
        "n_bids:128:8 _bids:136:184 n_asks:320:8 _asks:328:184",
    ),
    "LEVELS": (
        levels.LEVELS,
        192,
        "n:0:8 capacity:8:8 n_blocks:16:8 fences:24:8 ids:32:8 counts:40:8 blocks:48:8 spilled:56:8 "
        "top:64:8 tick:72:8 inverse:80:8 n_slots:88:8 span:96:8 slots:104:8 bits:112:8 summary:120:8 "
        "misses:128:8 patience:136:8 low:144:8 mixed:152:8 moves:160:8 moved:168:8 _pad:176:16",
    ),
    "ORDER": (
        order_table.ORDER,
        128,
        "id:0:8 price:8:8 qty:16:8 filled:24:8 new_price:32:8 new_qty:40:8 created_ts:48:8 venue_id:56:8 "
        "instrument:64:4 state:68:1 side:69:1 strategy:70:1 flags:71:1 open_index:72:8 user:80:8 quote:88:8 "
        "cancel_due_ns:96:8 cancels:104:4 under_way:108:2 own_cancels:110:2 asked_price:112:8 asked_qty:120:8",
    ),
    "TABLE": (
        order_table.TABLE,
        128,
        "capacity:0:8 n_open:8:8 illegal:16:8 inserted:24:8 ended:32:8 open:40:8 past:48:8 free:56:8 index:64:8 "
        "past_in:72:8 past_out:80:8 past_limit:88:8 n_free:96:8 _pad:104:24",
    ),
    "POSITION": (
        position.POSITION,
        128,
        "qty:0:8 cost:8:8 realised:16:8 fees:24:8 bought_qty:32:8 sold_qty:40:8 turnover:48:8 fills:56:8 "
        "working_buy:64:8 working_sell:72:8 mark:80:8 overflows:88:8 at_mid:96:8 taker_fees:104:8 "
        "taker_fills:112:8 taker_turnover:120:8",
    ),
    "INSTRUMENT": (
        instruments.INSTRUMENT,
        128,
        "symbol:0:24 venue:24:8 tick:32:8 lot:40:8 min_notional:48:8 maker_fee:56:8 taker_fee:64:8 "
        "reference_price:72:8 at:80:8 base:88:16 quote:104:8 multiplier:112:8 "
        "levels:120:4 contract:124:1 depth:125:1 power:126:1 _pad:127:1",
    ),
    "CLOCK": (
        clock.CLOCK,
        64,
        "tsc0:0:8 mono0_ns:8:8 wall0_ns:16:8 mult:24:8 ns_per_tick:32:8 skew_ns:40:8 skew_bound_ns:48:8 _pad:56:8",
    ),
    "STATUS": (
        status.STATUS,
        64,
        "state:0:8 heartbeat_tsc:8:8 loops:16:8 work:24:8 pid:32:8 cpu:40:8 finished:48:8 first_work_tsc:56:8",
    ),
    "LOOP": (
        stage.LOOP,
        864,
        "count:0:8 idle:8:8 stop:16:8 clock:24:8 function:32:272 state:304:272 status:576:272 idle_spins:848:8 next:856:8",
    ),
    "SEGMENT HEADER": (
        shm.HEADER,
        120,
        "magic:0:8 schema:8:4 ready:12:4 build:16:64 epoch:80:8 pid:88:8 pid_started:96:8 size:104:8 "
        "directory_bytes:112:8",
    ),
    "MESSAGE": (
        message.MESSAGE,
        192,
        "kind:0:8 instrument:8:8 event_ts:16:8 transaction_ts:24:8 first_id:32:8 last_id:40:8 previous_id:48:8 "
        "has_previous:56:8 price:64:8 qty:72:8 trade_id:80:8 side:88:8 accepted:96:8 bid:104:8 bid_qty:112:8 "
        "ask:120:8 ask_qty:128:8 n_bids:136:8 n_asks:144:8 sequence:152:8 stream:160:8 n_trades:168:8 _pad:176:16",
    ),
    "TRADE_ROW": (
        message.TRADE_ROW,
        48,
        "price:0:8 qty:8:8 trade_id:16:8 transaction_ts:24:8 side:32:8 accepted:40:8",
    ),
}

#: Numbers that stand in recordings and in reports: never renumbered.
KINDS = {
    "LEVEL": 1, "TOP": 2, "TRADE": 3, "BOOK_RESET": 4, "BOOK_STATE": 5, "TIMER": 6, "NEW": 16, "CANCEL": 17,
    "REPLACE": 18, "ACK": 32, "REPLACED": 33, "FILL": 34, "CANCELED": 35, "EXPIRED": 36, "REJECT": 37,
    "CANCEL_REJECT": 38, "VENUE_FAULT": 49,
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_field_stands_where_the_schema_says(name: str) -> None:
    dtype, size, fields = LAYOUTS[name]
    assert dtype.itemsize == size
    found = " ".join(f"{f}:{offset_of(dtype, f)}:{dtype[f].itemsize}" for f in dtype.names)
    assert found == fields


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_byte_of_a_shared_record_is_unnamed(name: str) -> None:
    dtype, size, _ = LAYOUTS[name]
    assert sum(dtype[f].itemsize for f in dtype.names) == size


def test_header_sizes_agree_with_their_records() -> None:
    assert ring.RING.itemsize == ring.RING_HEADER_BYTES
    assert book.BOOK.itemsize == book.BOOK_HEADER_BYTES
    assert levels.LEVELS.itemsize == levels.LEVELS_HEADER_BYTES
    assert order_table.TABLE.itemsize == order_table.TABLE_HEADER_BYTES
    assert order_table.ORDER.itemsize == order_table.ORDER_BYTES
    assert cells.CELL_BYTES == 8 * cells.CELL_WORDS == cells.TOP_CELL.itemsize == cells.HALT_CELL.itemsize
    assert records.RECORD.itemsize == records.RECORD_BYTES
    assert histogram.HIST_BYTES == 8 * (4 + 37 * 128)


def test_producer_and_consumer_of_a_ring_write_different_lines() -> None:
    lines = {name: offset_of(ring.RING, name) // 64 for name in ("mask", "next_in", "known_out", "refused", "next_out")}
    assert lines["next_in"] == lines["known_out"] == lines["refused"]
    assert len({lines["mask"], lines["next_in"], lines["next_out"], ring.RING_HEADER_BYTES // 64}) == 4


def test_kinds_keep_their_numbers() -> None:
    assert {name: getattr(records, name) for name in KINDS} == KINDS
    assert set(records.KIND_NAMES) == set(KINDS.values())
    assert len(set(records.KIND_NAMES.values())) == len(KINDS)


def test_reason_codes_are_unique_named_and_fit_their_counters() -> None:
    codes = [reason.code for reason in reasons.REASONS]
    assert len(set(codes)) == len(codes)
    assert max(codes) < reasons.REASON_SLOTS == 64
    assert len({reason.name for reason in reasons.REASONS}) == len(codes)
    constants = {name: value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, int)}
    del constants["REASON_SLOTS"]
    assert sorted(constants.values()) == sorted(codes)
    assert {name.lower() for name in constants} == {reason.name for reason in reasons.REASONS}


def test_flags_of_an_order_do_not_overlap() -> None:
    forces = [records.GTC, records.IOC, records.FOK, records.POST_ONLY, records.MARKET]
    assert len(set(forces)) == len(forces) and all(force & records.TIF_MASK == force for force in forces)
    bits = [records.TIF_MASK, records.REDUCE_ONLY, records.NOT_A_NUMBER]
    assert sum(bits) == np.bitwise_or.reduce(bits) < 256


def test_client_ids_of_two_runs_never_meet() -> None:
    # A run an hour after another, and after 65,535 orders in each second of it.
    ids = {
        records.client_id(venue, strategy, epoch, sequence)
        for venue in (0, 255)
        for strategy in (0, 255)
        for epoch in (1, 1_800_000_000, 1_800_003_600, records.EPOCH_MAX)
        for sequence in (1, 3_600 * 65_535)
    }
    assert len(ids) == 2 * 2 * 4 * 2
    assert max(ids) < 2**64 and records.client_id(255, 255, records.EPOCH_MAX, 2**32 - 1) == 2**64 - 65_536 - 1
    assert records.client_id(0, 0, 5, 2**28 - 1) < records.client_id(0, 0, 5 + records.EPOCH_STEP, 1)
