"""Tests without a component: `python3 -B -m unittest` in this folder."""

import json
import unittest
from pathlib import Path

import frame
from enrich import MAX_DEPTH, BadConfig, Enrich, as_key

CONFIG = {"field": "customer.country", "into": "region", "table": {"DE": "emea", "1": "one"}}
GOLDEN = Path(__file__).parents[2] / "wit" / "operator-0.1.0" / "golden"


def values(operator, rows):
    out, rejected = operator.apply(frame.write(len(rows), [frame.bytes_column(frame.VALUE, rows)]))
    count, columns = frame.read(out)
    assert count == len(rows)
    return columns[frame.VALUE].values(), [(r.row, r.code) for r in rejected]


def golden(name):
    """The bytes of a golden frame, and what is in it."""
    path = GOLDEN / name
    return bytes.fromhex(path.with_suffix(".hex").read_text()), json.loads(path.with_suffix(".json").read_text())


def described(bytes_of_a_frame):
    """What is in a frame, as the golden files tell it. Raises frame.Malformed."""
    rows, columns = frame.read(bytes_of_a_frame)

    def row(column, at, value):
        if column.nulls is not None and column.nulls[at] == frame.UNCHANGED:
            return "unchanged"
        return {"hex": value.hex()} if isinstance(value, bytes) else value

    told = [
        {
            "id": column.id,
            "type": ("bytes", "u8", "u32", "i64")[column.type],
            "flags": column.flags,
            "rows": [row(column, at, value) for at, value in enumerate(column.values())],
        }
        for column in columns.values()
    ]
    return {"rows": rows, "columns": told}


class GoldenFrames(unittest.TestCase):
    def setUp(self):
        self.names = sorted(path.stem for path in GOLDEN.glob("*.hex"))
        self.good = [name for name in self.names if "error" not in golden(name)[1]]

    def test_both_kinds_are_there(self):
        self.assertLessEqual({"records", "states", "keys", "mask", "no-rows", "no-columns"}, set(self.good))
        self.assertGreater(len(self.names), len(self.good))

    def test_the_good_ones_are_read(self):
        for name in self.good:
            with self.subTest(name):
                whole, inside = golden(name)
                self.assertEqual(described(whole), inside)

    def test_the_good_ones_are_written(self):
        for name in self.good:
            with self.subTest(name):
                whole, inside = golden(name)
                rows, columns = frame.read(whole)
                again = frame.write(rows, columns.values())
                self.assertEqual(described(again), inside)
                # That one has a gap, which a writer may leave.
                if name != "flat-map-answer":
                    self.assertEqual(again.hex(), whole.hex())

    def test_the_malformed_ones_are_refused(self):
        for name in set(self.names) - set(self.good):
            with self.subTest(name), self.assertRaises(frame.Malformed):
                described(golden(name)[0])


class Frames(unittest.TestCase):
    def test_what_is_written_is_read(self):
        columns = [
            frame.bytes_column(frame.KEY, [b"a", None, b""]),
            frame.number_column(frame.TIMESTAMP, frame.I64, [-1, None, 2**60]),
        ]
        rows, read = frame.read(frame.write(3, columns))
        self.assertEqual(rows, 3)
        self.assertEqual([read[c.id].values() for c in columns], [[b"a", None, b""], [-1, None, 2**60]])

    def test_what_is_cut_off_is_refused(self):
        whole = frame.write(2, [frame.bytes_column(frame.VALUE, [b"ab", None])])
        for end in range(1, len(whole)):
            with self.assertRaises(frame.Malformed):
                frame.read(whole[:end])


class Enriching(unittest.TestCase):
    def test_fields_are_added_and_bad_rows_leave_the_others_alone(self):
        rows = [
            b'{"customer":{"country":"DE"}}',
            b'{"customer":{"country":"DE"',
            None,
            b'{"customer":{"country":1.0}}',
            b'{"customer":{}}',
            b'{"customer":{"country":"FR"}}',
            b"[1]",
        ]
        got, rejected = values(Enrich(json.dumps(CONFIG)), rows)
        self.assertEqual(got[0], b'{"customer":{"country":"DE"},"region":"emea"}')
        self.assertIsNone(got[2])
        self.assertEqual(json.loads(got[3])["region"], "one")
        self.assertEqual(rejected, [(1, "bad-json"), (4, "no-key"), (5, "unknown-value"), (6, "not-an-object")])

    def test_text_that_is_not_ascii(self):
        operator = Enrich(json.dumps({**CONFIG, "default": None}))
        got, rejected = values(operator, ['{"customer":{"country":"Ö"}}'.encode(), b"\xff"])
        self.assertEqual(got[0].decode(), '{"customer":{"country":"Ö"},"region":null}')
        self.assertEqual(rejected, [(1, "bad-json")])

    def test_what_json_can_say_and_utf8_can_not(self):
        got, rejected = values(Enrich(json.dumps(CONFIG)), [b'{"customer":{"country":"DE"},"x":"\\ud800"}'])
        self.assertEqual(got, [b'{"customer":{"country":"DE"},"x":"\\ud800","region":"emea"}'])
        self.assertEqual(rejected, [])

    def test_numbers_beyond_what_json_can_say(self):
        digits = b"9" * 5000
        for number in (b"1e999", b"NaN", b"-Infinity", digits):
            with self.subTest(number[:9]):
                _, rejected = values(Enrich(json.dumps(CONFIG)), [b'{"customer":{"country":"DE"},"x":%s}' % number])
                self.assertEqual(rejected, [(0, "bad-json")])

    def test_keys_are_those_of_flow(self):
        cases = {
            '"1.0"': "1.0",
            "true": "true",
            "1.0": "1",
            "-0.0": "0",
            "12.5": "12.5",
            "1.250e1": "12.5",
            "-125e-2": "-1.25",
            "1.5e-7": "0.00000015",
            "-1e-7": "-0.0000001",
            "0.30000000000000004": "0.30000000000000004",
            "1e19": "10000000000000000000",
            "18446744073709551615": "18446744073709551615",
            "18446744073709551617": "18446744073709551616",
            "1e23": "99999999999999991611392",
            "9" * 400: None,
            "1e999": None,
            "null": None,
            "[1]": None,
        }
        for text, key in cases.items():
            with self.subTest(text[:30]):
                self.assertEqual(as_key(json.loads(text)), key)

    def test_nesting_is_refused_from_a_depth_on(self):
        operator = Enrich(json.dumps(CONFIG))
        # Text that is not ASCII, and halves of surrogate pairs, are read and written in other ways.
        for inner in ("1", '"Ö"', r'"\ud800"', r'"[[[\"[[[\\"'):
            # The record itself is the first level.
            for levels, expected in ((MAX_DEPTH, []), (MAX_DEPTH + 1, [(0, "bad-json")]), (100_000, [(0, "bad-json")])):
                arrays, objects = "[" * (levels - 1), '{"a":' * (levels - 1)
                for begin, end in ((arrays, "]"), (objects, "}")):
                    row = '{"customer":{"country":"DE"},"x":' + begin + inner + end * (levels - 1) + "}"
                    with self.subTest(f"{levels} of {begin[:5]} around {inner}"):
                        got, rejected = values(operator, [row.encode(), b'{"customer":{"country":"DE"}}'])
                        self.assertEqual(got[1], b'{"customer":{"country":"DE"},"region":"emea"}')
                        self.assertEqual(rejected, expected)
                        # Without its end it is no JSON, however deep.
                        self.assertEqual(values(operator, [row[:-1].encode()])[1], [(0, "bad-json")])

    def test_many_brackets_are_not_deep(self):
        row = b'{"customer":{"country":"DE"},"x":[%s]}' % b",".join([b'["[[{",{"[":1}]'] * 1000)
        got, rejected = values(Enrich(json.dumps(CONFIG)), [row])
        self.assertEqual((got, rejected), ([row[:-1] + b',"region":"emea"}'], []))

    def test_wrong_configs(self):
        for config in (None, {}, {**CONFIG, "more": 1}, {**CONFIG, "table": {}}, {**CONFIG, "into": 3}):
            with self.assertRaises(BadConfig):
                Enrich(json.dumps(config))


if __name__ == "__main__":
    unittest.main()
