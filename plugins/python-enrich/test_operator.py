"""Tests without a component: `python3 -B -m unittest` in this folder."""

import json
import unittest

import frame
from enrich import BadConfig, Enrich

CONFIG = {"field": "customer.country", "into": "region", "table": {"DE": "emea", "1": "one"}}


def values(operator, rows):
    out, rejected = operator.apply(frame.write(len(rows), [frame.bytes_column(frame.VALUE, rows)]))
    count, columns = frame.read(out)
    assert count == len(rows)
    return columns[frame.VALUE].values(), [(r.row, r.code) for r in rejected]


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
            b'{"customer":{"country":"XX"}}',
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

    def test_wrong_configs(self):
        for config in (None, {}, {**CONFIG, "more": 1}, {**CONFIG, "table": {}}, {**CONFIG, "into": 3}):
            with self.assertRaises(BadConfig):
                Enrich(json.dumps(config))


if __name__ == "__main__":
    unittest.main()
