"""Frames: batches of rows as byte strings, laid out as wit/operator-0.1.0/FRAME.md says.

Must never import the component's bindings: the same file is tested by a plain Python. Works on whole columns, for each
step that Python takes per row costs more than the boundary does.
"""

from array import array
from itertools import accumulate, pairwise
from struct import Struct
from sys import byteorder
from typing import Iterable, NamedTuple, Optional

KEY, VALUE, TIMESTAMP, HEADERS, SPLIT, POSITION, CHANGE, TARGET, INPUT_ROW, MASK, GROUP_ROWS = range(1, 12)
DECLARED = 16
"""The first id of a column that operators declare."""

BYTES, U8, U32, I64 = range(4)
DATA, OFFSETS, NULLS = range(3)
NULL, PRESENT, UNCHANGED = range(3)

MUST_UNDERSTAND = 1
MAX_ENTRIES = 256

_MAGIC = b"FLW\x01"
_HEADER = Struct("<4sIII")
_ENTRY = Struct("<HBBIII")
_WIDTHS = {U8: 1, U32: 4, I64: 8}
_CODES = {U8: "B", U32: "I", I64: "q"}
# `memoryview.cast` and `array` read numbers in the machine's order; that of Wasm is the frame's.
assert byteorder == "little" and array("I").itemsize == 4


class Malformed(ValueError):
    """Bytes that are no frame."""


class Column(NamedTuple):
    """One column: its buffers as they lie in a frame."""

    id: int
    type: int
    data: bytes
    offsets: Optional[bytes] = None
    """Of a bytes column: rows + 1 numbers of 4 bytes."""
    nulls: Optional[bytes] = None
    """One byte a row; none: no row is null."""
    flags: int = 0

    def bounds(self) -> memoryview:
        """Where the rows of a bytes column begin and end in `data`."""
        return memoryview(self.offsets or b"").cast("I")

    def values(self) -> list:
        """The rows: bytes, or numbers; None where a row is null."""
        if self.type == BYTES:
            data = self.data
            rows = [data[begin:end] for begin, end in pairwise(self.bounds())]
        else:
            rows = memoryview(self.data).cast(_CODES[self.type]).tolist()
        if self.nulls is None:
            return rows
        return [row if mark == PRESENT else None for row, mark in zip(rows, self.nulls)]


def bytes_column(id: int, values: list[Optional[bytes]]) -> Column:
    """A column of byte strings, null where there is None."""
    nulls = None
    if None in values:
        nulls = bytes([value is not None for value in values])
        values = [value or b"" for value in values]
    offsets = array("I", accumulate(map(len, values), initial=0)).tobytes()
    return Column(id, BYTES, b"".join(values), offsets, nulls)


def number_column(id: int, type: int, values: list[Optional[int]]) -> Column:
    """A column of U8, U32 or I64, null where there is None."""
    nulls = None
    if None in values:
        nulls = bytes([value is not None for value in values])
        values = [value or 0 for value in values]
    return Column(id, type, array(_CODES[type], values).tobytes(), None, nulls)


def read(frame: bytes) -> tuple[int, dict[int, Column]]:
    """Number of rows, and the columns by id. Raises Malformed."""
    if not frame:
        return 0, {}
    if len(frame) < _HEADER.size:
        raise Malformed(f"frame is cut off: {_HEADER.size} bytes needed, {len(frame)} there")
    magic, rows, entries, length = _HEADER.unpack_from(frame)
    if magic != _MAGIC:
        raise Malformed(f"not a frame of version 1: it begins with {magic.hex()}")
    head = _HEADER.size + _ENTRY.size * entries
    if entries > MAX_ENTRIES or length != len(frame) or head > length:
        raise Malformed(f"a frame of {len(frame)} bytes says it has {length}, and {entries} buffers")
    found: dict[int, dict] = {}
    for id, role, type, flags, offset, size in _ENTRY.iter_unpack(frame[_HEADER.size : head]):
        if type > I64 and id >= DECLARED and not flags & MUST_UNDERSTAND:
            continue
        if flags & MUST_UNDERSTAND and (id == 0 or GROUP_ROWS < id < DECLARED):
            raise Malformed(f"column {id} must be understood, and is not known here")
        wrong = _wrong(role, type, rows, length, offset, size)
        if wrong:
            raise Malformed(f"column {id}: {wrong}")
        column = found.setdefault(id, {"type": type, "flags": flags})
        if role in column or (column["type"], column["flags"]) != (type, flags):
            raise Malformed(f"column {id}: two buffers of one role, or of different types")
        column[role] = frame[offset : offset + size]
    for id, column in found.items():
        if DATA not in column or (OFFSETS in column) != (column["type"] == BYTES):
            raise Malformed(f"column {id}: a buffer is missing")
        if OFFSETS in column:
            bounds = memoryview(column[OFFSETS]).cast("I")
            if bounds[-1] > len(column[DATA]) or any(a > b for a, b in pairwise(bounds)):
                raise Malformed(f"column {id}: row ends fall or lie outside of the data")
    return rows, {
        id: Column(id, c["type"], c[DATA], c.get(OFFSETS), c.get(NULLS), c["flags"]) for id, c in found.items()
    }


def _wrong(role: int, type: int, rows: int, length: int, offset: int, size: int) -> Optional[str]:
    if role > NULLS or type > I64:
        return "unknown role or type"
    if offset % 8 or offset + size > length:
        return "a buffer is not aligned to 8, or ends outside of the frame"
    if role == OFFSETS and type != BYTES:
        return "offsets of a column of fixed width"
    wanted = {DATA: rows * _WIDTHS[type] if type in _WIDTHS else size, OFFSETS: rows * 4 + 4, NULLS: rows}[role]
    return None if size == wanted else "a buffer's length does not fit the number of rows"


def write(rows: int, columns: Iterable[Column]) -> bytes:
    """The frame of columns that have so many rows each."""
    buffers = [
        (column, role, buffer)
        for column in columns
        for role, buffer in ((DATA, column.data), (OFFSETS, column.offsets), (NULLS, column.nulls))
        if buffer is not None
    ]
    at = _HEADER.size + _ENTRY.size * len(buffers)
    directory, body = [], []
    for column, role, buffer in buffers:
        gap = -at % 8
        directory.append(_ENTRY.pack(column.id, role, column.type, column.flags, at + gap, len(buffer)))
        body += (bytes(gap), buffer)
        at += gap + len(buffer)
    return b"".join((_HEADER.pack(_MAGIC, rows, len(buffers), at), *directory, *body))
