//! Giving each record the key that `key:` names. It stands before a hash exchange or a keyed operator, and makes the grouping
//! key the record's key; records without one are refused.

use std::fmt::Write;

use flow_frame::BytesBuilder;
use flow_frame::layout::id;
use flow_model::key_selector::KeySelector;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::build::bytes_column;
use crate::call::Blame;
use crate::element::{Barrier, Moment};
use crate::report::Rejected;
use crate::{Batch, Column, Error, Operator};

/// Sets the key column from a selector.
pub struct KeyBy {
    selector: KeySelector,
    blame: Blame,
}

impl KeyBy {
    /// `blame` says what happens with records that have no key.
    pub fn new(selector: KeySelector, blame: Blame) -> KeyBy {
        KeyBy { selector, blame }
    }

    /// The rows that have a key, with it as their record key.
    pub fn apply(&self, mut batch: Batch) -> Result<Batch, Error> {
        let from = match &self.selector {
            KeySelector::Record => id::KEY,
            KeySelector::Value | KeySelector::Field(_) => id::VALUE,
        };
        if batch.is_empty() {
            return Ok(batch);
        }
        let Some(column) = batch.column(from).cloned() else {
            return self.without_null_keys(&batch, |_| false);
        };
        if let KeySelector::Field(path) = &self.selector {
            return self.by_field(batch, &column, path);
        }
        batch.set(Column { id: id::KEY, ..column.clone() });
        match column.as_bytes() {
            Some(keys) if keys.has_nulls() => self.without_null_keys(&batch, |row| keys.get(row).is_some()),
            _ => Ok(batch),
        }
    }

    fn by_field(&self, mut batch: Batch, values: &Column, path: &[String]) -> Result<Batch, Error> {
        let Some(values) = values.as_bytes() else { return Ok(batch) };
        let mut keys = BytesBuilder::with_capacity(batch.rows(), batch.rows() * 16);
        let mut keep = Vec::with_capacity(batch.rows());
        let mut text = String::new();
        for row in 0..batch.rows() {
            text.clear();
            let found = match values.get(row) {
                Some(value) => field(value, path, &mut text),
                None => Err("the value is null".into()),
            };
            match found {
                Ok(()) => {
                    keep.push(row as u32);
                    keys.push(Some(text.as_bytes()));
                }
                Err(cause) => self.refuse(&batch, row, cause)?,
            }
        }
        if keep.len() < batch.rows() {
            batch = batch.select(&keep);
        }
        batch.set(bytes_column(id::KEY, keys));
        Ok(batch)
    }

    fn without_null_keys(&self, batch: &Batch, has_key: impl Fn(usize) -> bool) -> Result<Batch, Error> {
        let (keep, out): (Vec<u32>, Vec<u32>) = (0..batch.rows() as u32).partition(|row| has_key(*row as usize));
        for row in out {
            let what = if self.selector == KeySelector::Value { "value" } else { "key" };
            self.refuse(batch, row as usize, format!("the record's {what} is null"))?;
        }
        Ok(batch.select(&keep))
    }

    fn refuse(&self, batch: &Batch, row: usize, cause: String) -> Result<(), Error> {
        let message = format!("no key by `key: {}`: {cause}", self.selector);
        let (origin, code, backtrace) = (batch.origin(row), "no-key".into(), Vec::new());
        self.blame.reject(batch, row, Rejected { origin, code, message, backtrace, attempts: 1 })
    }
}

impl Operator for KeyBy {
    fn process(&mut self, batch: Batch, _at: Moment, out: &mut Vec<Batch>) -> Result<(), Error> {
        let keyed = self.apply(batch)?;
        out.extend((!keyed.is_empty()).then_some(keyed));
        Ok(())
    }

    fn before_barrier(&mut self, _barrier: Barrier, _out: &mut Vec<Batch>) -> Result<(), Error> {
        Ok(())
    }

    fn snapshot(&mut self, _barrier: Barrier) -> Result<(), Error> {
        Ok(())
    }

    fn end_of_input(&mut self, _out: &mut Vec<Batch>) -> Result<(), Error> {
        Ok(())
    }
}

/// Writes the text of a JSON value's field to `out`, reading the value once and building nothing of the rest.
fn field(value: &[u8], path: &[String], out: &mut String) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(value);
    let found = Field { path, out }.deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err("there is no such field".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the value at `path`; true when it was there.
struct Field<'a> {
    path: &'a [String],
    out: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

/// Canonical text, so that equal numbers are equal keys: whole numbers as all their digits, others as the fewest digits that
/// read back the same; never with an exponent.
fn number(value: f64, out: &mut String) {
    let written = if value == 0.0 {
        // -0 is 0.
        write!(out, "0")
    } else if value.fract() == 0.0 {
        write!(out, "{value:.0}")
    } else {
        write!(out, "{value}")
    };
    written.expect("writing to a string never fails");
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object with a string, number or boolean in the key's place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Some((first, rest)) = self.path.split_first() else {
            return Err(serde::de::Error::custom("the field is an object, and can't be a key"));
        };
        let mut found = false;
        while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if name == first.as_str() {
                self.out.clear();
                found = map.next_value_seed(Field { path: rest, out: self.out })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        if self.path.is_empty() {
            Err(serde::de::Error::custom("the field is a list, and can't be a key"))
        } else {
            Ok(false)
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        self.out.push_str(text);
        Ok(self.path.is_empty())
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        self.out.push_str(if value { "true" } else { "false" });
        Ok(self.path.is_empty())
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        write!(self.out, "{value}").expect("writing to a string never fails");
        Ok(self.path.is_empty())
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        write!(self.out, "{value}").expect("writing to a string never fails");
        Ok(self.path.is_empty())
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        number(value, self.out);
        Ok(self.path.is_empty())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        if self.path.is_empty() { Err(E::custom("the field is null")) } else { Ok(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_canonical_texts() {
        let check = |value: &str, path: &str, expect: Result<&str, &str>| {
            let path: Vec<String> = path.split('.').map(String::from).collect();
            let mut text = String::new();
            let found = field(value.as_bytes(), &path, &mut text);
            match expect {
                Ok(key) => assert_eq!((found, text.as_str()), (Ok(()), key), "{value}"),
                Err(cause) => assert!(found.as_ref().is_err_and(|e| e.contains(cause)), "{value}: {found:?}"),
            }
        };
        check(r#"{"a": "x", "b": 2}"#, "a", Ok("x"));
        check(r#"{"a": "xé\n"}"#, "a", Ok("xé\n"));
        check(r#"{"a": {"b": {"c": 7}}, "z": [1, {}]}"#, "a.b.c", Ok("7"));
        check(r#"{"a": 1.0}"#, "a", Ok("1"));
        check(r#"{"a": 1e0}"#, "a", Ok("1"));
        check(r#"{"a": -0.0}"#, "a", Ok("0"));
        check(r#"{"a": 18446744073709551615}"#, "a", Ok("18446744073709551615"));
        check(r#"{"a": 0.1}"#, "a", Ok("0.1"));
        check(r#"{"a": 12.5}"#, "a", Ok("12.5"));
        check(r#"{"a": 1.250e1}"#, "a", Ok("12.5"));
        check(r#"{"a": -125e-2}"#, "a", Ok("-1.25"));
        check(r#"{"a": 1.5e-7}"#, "a", Ok("0.00000015"));
        check(r#"{"a": 0.30000000000000004}"#, "a", Ok("0.30000000000000004"));
        check(r#"{"a": 9007199254740993.0}"#, "a", Ok("9007199254740992"));
        check(r#"{"a": 1e19}"#, "a", Ok("10000000000000000000"));
        check(r#"{"a": 10000000000000000000}"#, "a", Ok("10000000000000000000"));
        check(r#"{"a": 9.223372036854775808e18}"#, "a", Ok("9223372036854775808"));
        check(r#"{"a": 18446744073709551616}"#, "a", Ok("18446744073709551616"));
        check(r#"{"a": 1e23}"#, "a", Ok("99999999999999991611392"));
        check(r#"{"a": -1e19}"#, "a", Ok("-10000000000000000000"));
        check(r#"{"a": 1e999}"#, "a", Err("number out of range"));
        check(r#"{"a": true}"#, "a", Ok("true"));
        check(r#"{"a": 1, "a": "last"}"#, "a", Ok("last"));
        check(r#"{"a": null}"#, "a", Err("null"));
        check(r#"{"b": 1}"#, "a", Err("no such field"));
        check(r#"{"a": 1}"#, "a.b", Err("no such field"));
        check(r#"{"a": {}}"#, "a", Err("object"));
        check(r#"{"a": []}"#, "a", Err("list"));
        check(r#"[1]"#, "a", Err("no such field"));
        check(r#"{"a": 1} x"#, "a", Err("trailing"));
        check("nonsense", "a", Err("expected"));
        check("", "a", Err("EOF"));
    }
}
