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
_WIDTHS = (0, 1, 4, 8)
_CODES = "?BIq"
_ZEROS = bytes(8)
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

    def bounds(self) -> list[int]:
        """Where the rows of a bytes column begin and end in `data`. Raises Malformed."""
        ends = memoryview(self.offsets or b"").cast("I").tolist()
        # Sorting what is sorted already is the fastest look at all of it.
        if ends[-1] > len(self.data) or ends != sorted(ends):
            raise Malformed(f"column {self.id}: row ends fall or lie outside of the data")
        return ends

    def values(self) -> list:
        """The rows: bytes, or numbers; None where a row is null. Raises Malformed."""
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
    """Number of rows, and the columns by id. Raises Malformed.

    The directory is checked here, the row ends of a bytes column where they are used: most batches have columns that an
    operator never looks at.
    """
    if not frame:
        return 0, {}
    length = len(frame)
    if length < 16:
        raise Malformed(f"frame is cut off: 16 bytes needed, {length} there")
    magic, rows, entries, said = _HEADER.unpack_from(frame)
    head = 16 + 16 * entries
    if magic != _MAGIC:
        raise Malformed(f"not a frame of version 1: it begins with {magic.hex()}")
    if said != length or head > length or entries > MAX_ENTRIES:
        raise Malformed(f"a frame of {length} bytes says that it has {said}, and {entries} buffers")
    found: dict[int, list] = {}
    for id, role, type, flags, offset, size in _ENTRY.iter_unpack(frame[16:head]):
        if type > I64 or role > NULLS:
            if type > I64 and id >= DECLARED and not flags & MUST_UNDERSTAND:
                continue
            raise Malformed(f"column {id}: unknown role or type")
        if flags & MUST_UNDERSTAND and (id == 0 or GROUP_ROWS < id < DECLARED):
            raise Malformed(f"column {id} must be understood, and is not known here")
        if offset % 8 or offset + size > length:
            raise Malformed(f"column {id}: a buffer is not aligned to 8, or ends outside of the frame")
        wanted = rows * _WIDTHS[type] if role == DATA else rows * 4 + 4 if role == OFFSETS else rows
        if size != wanted and (type or role):
            raise Malformed(f"column {id}: a buffer's length does not fit the number of rows")
        column = found.get(id)
        if column is None:
            column = found[id] = [id, type, None, None, None, flags]
        if column[1] != type or column[5] != flags or column[2 + role] is not None:
            raise Malformed(f"column {id}: two buffers of one role, or of different types")
        column[2 + role] = frame[offset : offset + size]
    for id, column in found.items():
        if column[2] is None or (column[3] is None) != (column[1] != BYTES):
            raise Malformed(f"column {id}: a buffer is missing, or one too many")
    return rows, {id: Column._make(column) for id, column in found.items()}


def write(rows: int, columns: Iterable[Column]) -> bytes:
    """The frame of columns that have so many rows each."""
    buffers = [
        (id, role, type, flags, buffer)
        for id, type, *of_roles, flags in columns
        for role, buffer in enumerate(of_roles)
        if buffer is not None
    ]
    at = 16 + 16 * len(buffers)
    directory, body = [], []
    for id, role, type, flags, buffer in buffers:
        gap = -at % 8
        at += gap
        directory.append(_ENTRY.pack(id, role, type, flags, at, len(buffer)))
        body += (_ZEROS[:gap], buffer)
        at += len(buffer)
    return b"".join((_HEADER.pack(_MAGIC, rows, len(buffers), at), *directory, *body))
