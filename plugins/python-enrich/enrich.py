"""The operator's own work: adds to each JSON object what a table says of one of its fields.

Must never import the component's bindings: the same file is tested by a plain Python.
"""

import json
from itertools import accumulate, pairwise
from json.encoder import c_make_encoder, encode_basestring, encode_basestring_ascii
from math import inf
from typing import Any, NamedTuple, Optional

from frame import PRESENT, VALUE, Column, bytes_column, read, write

MAX_DEPTH = 127
"""How deep JSON may be nested: as deep as Flow's Rust operators read it. Python itself gives up so late that the sandbox's
stack is full before, which ends the instance."""

_SETTINGS = {"field", "into", "table", "default"}
_DEEPER = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _DEEPER)


class BadConfig(ValueError):
    """A config that this operator can't work with."""


class Refused(ValueError):
    """A record that is rejected."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Rejected(NamedTuple):
    """A rejected row of a batch."""

    row: int
    code: str
    message: str


def _no_number(name: str) -> None:
    raise Refused("bad-json", f"{name} is not JSON")


def _unencodable(value: Any) -> None:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _encoder(string):
    # What json.JSONEncoder makes anew for each value; made once it costs a third.
    return c_make_encoder(None, _unencodable, string, None, ":", ",", False, False, False)


_decoder = json.JSONDecoder(parse_constant=_no_number)
_scan = _decoder.scan_once
_encode = _encoder(encode_basestring)
_encode_ascii = _encoder(encode_basestring_ascii)


def encode(value: Any) -> bytes:
    """JSON text without spaces. Raises Refused for numbers that JSON can't say."""
    try:
        return "".join(_encode(value, 0)).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON can say by an escape only.
        return "".join(_encode_ascii(value, 0)).encode()
    except ValueError as error:
        raise Refused("bad-json", str(error)) from None


def decode(text: bytes) -> Any:
    """The value of one JSON text. Raises Refused."""
    try:
        return _decoder.decode(text.decode())
    except UnicodeDecodeError as error:
        raise Refused("bad-json", f"no UTF-8: {error.reason} at byte {error.start}") from None
    except Refused:
        raise
    except ValueError as error:
        raise Refused("bad-json", str(error)) from None


def too_deep(text: bytes) -> bool:
    """Whether a JSON text is nested deeper than MAX_DEPTH. Of what is no JSON it may say either."""
    # Each level has a bracket: few texts have enough of them for a closer look.
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    outside_of_strings = b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside_of_strings.translate(None, _NO_BRACKETS)
    return max(accumulate(map(_DEEPER.__getitem__, brackets)), default=0) > MAX_DEPTH


def as_key(value: Any) -> Optional[str]:
    """How a field's value is looked up: as Flow takes keys from JSON, so 1 and 1.0 are the same. None: it is no key."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return str(value)
        try:
            value = float(value)
        except OverflowError:
            return None
    if not isinstance(value, float) or value in (inf, -inf):
        return None
    if value.is_integer():
        return str(int(value))
    # Never with an exponent; only small numbers that are not whole have one.
    digits, _, zeros = repr(abs(value)).partition("e-")
    if zeros:
        digits = "0." + "0" * (int(zeros) - 1) + digits.replace(".", "")
    return "-" + digits if value < 0 else digits


class Enrich:
    """One operator with its config."""

    def __init__(self, config: str):
        """Raises BadConfig."""
        given = json.loads(config)
        if not isinstance(given, dict):
            raise BadConfig("config must be an object with `field`, `into` and `table`")
        if unknown := sorted(given.keys() - _SETTINGS):
            raise BadConfig(f"unknown field `{unknown[0]}`; there are {', '.join(sorted(_SETTINGS))}")
        for name in ("field", "into"):
            if not isinstance(given.get(name), str) or not given[name]:
                raise BadConfig(f"`{name}` must be the name of a field")
        if not isinstance(given.get("table"), dict) or not given["table"]:
            raise BadConfig("`table` must say for each value of the field what to add")
        self.field = given["field"]
        self.path = self.field.split(".")
        self.into = given["into"]
        self.table = given["table"]
        self.default = (given["default"],) if "default" in given else None

    def enrich(self, record: Any) -> Any:
        """The record with the field added. Raises Refused."""
        if not isinstance(record, dict):
            raise Refused("not-an-object", f"an object was expected, not {type(record).__name__}")
        value = record
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        # Most fields are text, and most values are in the table.
        key = value if type(value) is str else as_key(value)
        if key is None:
            raise Refused("no-key", f"field `{self.field}` is missing, or neither text, number nor boolean")
        if key in self.table:
            record[self.into] = self.table[key]
        elif self.default:
            record[self.into] = self.default[0]
        else:
            raise Refused("unknown-value", f"the table has nothing for {key[:80]!r}, the value of `{self.field}`")
        return record

    def values(self, column: Column) -> tuple[list[Optional[bytes]], list[Rejected]]:
        """Every row enriched, null for null, and the rows that are rejected (their values mean nothing)."""
        data, nulls = column.data, column.nulls
        # One text for the whole batch, where characters are bytes: rows are then parsed where they lie.
        text = data.decode() if data.isascii() else None
        out: list[Optional[bytes]] = []
        rejected = []
        for row, (begin, end) in enumerate(pairwise(column.bounds())):
            if nulls is not None and nulls[row] != PRESENT:
                out.append(None)
                continue
            try:
                if end - begin > MAX_DEPTH and too_deep(data[begin:end]):
                    raise Refused("bad-json", f"nested deeper than {MAX_DEPTH} levels")
                record = self._within(text, begin, end) if text is not None else None
                if record is None:
                    record = decode(data[begin:end])
                out.append(encode(self.enrich(record)))
            except Refused as refused:
                out.append(b"")
                rejected.append(Rejected(row, refused.code, str(refused)))
        return out, rejected

    @staticmethod
    def _within(text: str, begin: int, end: int) -> Any:
        """The JSON text from `begin` to just `end`; None where it is not so simple."""
        try:
            record, stop = _scan(text, begin)
        except (ValueError, StopIteration):
            return None
        return record if stop == end else None

    def apply(self, batch: bytes) -> tuple[bytes, list[Rejected]]:
        """A map's answer to a frame. Raises frame.Malformed."""
        rows, columns = read(batch)
        if VALUE not in columns:
            return b"", []
        values, rejected = self.values(columns[VALUE])
        return write(rows, [bytes_column(VALUE, values)]), rejected
