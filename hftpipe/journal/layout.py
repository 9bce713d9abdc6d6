"""What a journal file holds: a header, names as JSON, then 64-byte entries.

::

    | HEADER (64) | JSON, padded to 64 | ENTRY | ENTRY | ... | zeros up to the file's size

An entry is one cache line. The order of stores is words 1 to 7, then word 0 with the checksum: what is half written is
not valid. The checksum is a CRC-32C over the entry's full sequence number and words 1 to 7, and begins with the
checksum of the file's header, which has a random number in it: an entry of another file, or from another place, is not
taken for one of this place.

====== ===== ============ ===========================================================================================
offset type  field        what it is
====== ===== ============ ===========================================================================================
0      u32   crc          checksum; 0 in all 64 bytes: nothing was written here
4      u32   seq          low half of the sequence number, from 1, without a gap over all files of a journal
8      i64   time_ns      our wall clock at the step that wrote it
16     u64   id           client order id
24     i64   price        1e-8
32     i64   qty          1e-8
40     u64   a            see below
48     i64   b            see below
56     u32   instrument   the number in the pipeline; the JSON has its name
60     u8 x4 kind, side, strategy, flags
====== ===== ============ ===========================================================================================

================================= ==================== ==================== ====================== ===================
kind                              price, qty           a                    b                      flags
================================= ==================== ==================== ====================== ===================
NEW, REPLACE, CANCEL              as asked             event time, ns       1: the gateway's own   of the order
ACK, REPLACED                     as the venue says    venue's order number venue's time, ns       as in its record
CANCELED, EXPIRED, REJECT         as the venue says    -                    venue's time, ns       reason code
CANCEL_REJECT                     0                    1: may answer a      venue's time, ns       reason code
                                                       cancel of our own
FILL                              of the execution     venue's trade number fee, 1e-8 of its asset maker; fee's asset
FILL_DETAIL (follows its FILL)    filled and left of   venue's order number venue's time, ns       what became of it:
                                  the order after it                                               bits of gateway/orders
VENUE_FAULT                       as in its record     as in its record     venue's time, ns       cause
NO_ANSWER                         0                    -                    -                      -
FILE_BEGIN (the first entry)      file number, epoch   checksum of the      1: first of its run    -
                                                       entry before         (``id``: its own full sequence number)
FILE_END                          entries before it, - entries not written  -                      1: the run has ended
================================= ==================== ==================== ====================== ===================
"""

import numpy as np

from hftpipe.core.schema.counters import table
from hftpipe.core.schema.records import KIND_NAMES, SCHEMA_VERSION

ENTRY = np.dtype(
    [
        ("crc", "u4"), ("seq", "u4"), ("time_ns", "i8"), ("id", "u8"), ("price", "i8"), ("qty", "i8"), ("a", "u8"), ("b", "i8"),
        ("instrument", "u4"), ("kind", "u1"), ("side", "u1"), ("strategy", "u1"), ("flags", "u1"),
    ],
    align=True,
)  # fmt: skip
ENTRY_BYTES = 64
assert ENTRY.itemsize == ENTRY_BYTES

# Kinds of entries that are no records of a ring. Never renumbered, never used for anything else.
NO_ANSWER, FILL_DETAIL, FILE_BEGIN, FILE_END = 129, 130, 131, 132
NAMES = KIND_NAMES | {
    NO_ANSWER: "no_answer", FILL_DETAIL: "fill_detail", FILE_BEGIN: "file_begin", FILE_END: "file_end",
}  # fmt: skip
#: Flag of FILE_END: the run has ended in order, and nothing follows. ``b`` of a request: the gateway's own cancel.
RUN_ENDED, OWN_REQUEST = 1, 1

MAGIC, VERSION = b"HFTJRNL\x01", 1
#: ``head_bytes``: where the first entry stands; ``salt``: random; ``slots``: entries that there is room for.
HEADER = np.dtype(
    [
        ("magic", "V8"), ("version", "u2"), ("schema", "u2"), ("head_bytes", "u4"), ("number", "u8"), ("epoch", "u8"),
        ("created_ns", "i8"), ("meta_bytes", "u4"), ("meta_crc", "u4"), ("salt", "u8"), ("slots", "u4"), ("crc", "u4"),
    ]
)  # fmt: skip
HEADER_BYTES = 64
assert HEADER.itemsize == HEADER_BYTES
SCHEMA = SCHEMA_VERSION

#: Slots of a file at least: its begin, its end, and some between.
MIN_SLOTS = 16

#: The writer's side, in shared memory; addresses are the gateway process's.
JOURNAL = np.dtype(
    [
        # Where the next entry goes; the last slot, kept for FILE_END; the checksum of the file's header.
        ("at", "u8"), ("end", "u8"), ("seed", "u8"),
        # The file after this one, laid out by the keeper (``next_at`` 0: not ready; written last, taken by the writer).
        ("next_end", "u8"), ("next_seed", "u8"), ("next_number", "u8"), ("next_at", "u8"),
        # Sequence number and checksum of the last entry; run number.
        ("seq", "u8"), ("last_crc", "u8"), ("epoch", "u8"),
        # The keeper asks for a new file (a new day).
        ("roll", "u8"),
        # Wall clock of this step; what makes it of the monotonic clock, set by the keeper.
        ("now_ns", "i8"), ("wall_offset_ns", "i8"),
        # Entries that only cancels and reports may still use; whether each request is on the disk before it is sent.
        ("reserve", "i8"), ("sync_each", "i8"),
        # Up to where the file is on the disk, for ``sync_each``; where the file before this one ended.
        ("synced", "u8"), ("ended_at", "u8"),
        # Counters. ``failed``: the errno of a disk that failed; nothing new is sent from then on.
        ("entries", "i8"), ("rolls", "i8"), ("missed", "i8"), ("withdrawn", "i8"), ("failed", "i8"),
        ("_pad", "u8", 10),
    ],
    align=True,
)  # fmt: skip
JOURNAL_BYTES = 256
assert JOURNAL.itemsize == JOURNAL_BYTES
COUNTERS = table("""
  entries    entries written to the journal
  rolls      journal files begun
  withdrawn  requests taken back that the venue did not take
! missed     cancels and reports that are not in the journal: it had no room
! failed     error number of the journal's disk
""")
