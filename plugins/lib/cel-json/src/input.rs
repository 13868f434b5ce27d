//! Records as CEL's values. Strings are borrowed from the record where JSON holds no escapes.

use std::collections::HashMap;
use std::fmt;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use flow_sdk::prelude::Result;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

type Boxed<'v> = Box<dyn Val + 'v>;

/// A value parsed as JSON.
pub(crate) fn parse(value: Option<&[u8]>) -> Result<Boxed<'_>> {
    match value {
        Some(bytes) => Ok(serde_json::from_slice::<Json>(bytes)?.0),
        None => Ok(Box::new(CelNull)),
    }
}

/// Text where it is UTF-8, bytes where it is not, null where there is nothing.
pub(crate) fn text(bytes: Option<&[u8]>) -> Boxed<'_> {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => Box::new(CelNull),
        Some((_, Ok(text))) => Box::new(CelString::from(text)),
        Some((bytes, Err(_))) => Box::new(CelBytes::from(bytes.to_vec())),
    }
}

pub(crate) fn int<'v>(number: Option<i64>) -> Boxed<'v> {
    match number {
        Some(number) => Box::new(CelInt::from(number)),
        None => Box::new(CelNull),
    }
}

pub(crate) fn headers<'v>(headers: impl Iterator<Item = (&'v str, Option<&'v [u8]>)>) -> Boxed<'v> {
    let all: HashMap<CelMapKey, Boxed> =
        headers.map(|(key, value)| (CelMapKey::String(CelString::from(key)), text(value))).collect();
    Box::new(CelMap::from(all))
}

struct Json<'v>(Boxed<'v>);

impl<'v> Deserialize<'v> for Json<'v> {
    fn deserialize<D: Deserializer<'v>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JsonVisitor).map(Json)
    }
}

struct JsonVisitor;

impl<'v> Visitor<'v> for JsonVisitor {
    type Value = Boxed<'v>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Boxed<'v>, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Boxed<'v>, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Boxed<'v>, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Boxed<'v>, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Box::new(CelInt::from(value)),
            Err(_) => Box::new(CelUInt::from(value)),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Boxed<'v>, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Boxed<'v>, E> {
        Ok(Box::new(CelString::from(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'v str) -> Result<Boxed<'v>, E> {
        Ok(Box::new(CelString::from(value)))
    }

    fn visit_seq<A: SeqAccess<'v>>(self, mut from: A) -> Result<Boxed<'v>, A::Error> {
        let mut items: Vec<Boxed<'v>> = Vec::new();
        while let Some(Json(item)) = from.next_element()? {
            items.push(item);
        }
        Ok(Box::new(CelList::from(items)))
    }

    fn visit_map<A: MapAccess<'v>>(self, mut from: A) -> Result<Boxed<'v>, A::Error> {
        let mut entries: HashMap<CelMapKey<'v>, Boxed<'v>> = HashMap::with_capacity(8);
        while let Some(Key(key)) = from.next_key()? {
            let Json(value) = from.next_value()?;
            entries.insert(CelMapKey::String(key), value);
        }
        Ok(Box::new(CelMap::from(entries)))
    }
}

struct Key<'v>(CelString<'v>);

impl<'v> Deserialize<'v> for Key<'v> {
    fn deserialize<D: Deserializer<'v>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl<'v> Visitor<'v> for KeyVisitor {
    type Value = CelString<'v>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, value: &str) -> Result<CelString<'v>, E> {
        Ok(CelString::from(value.to_owned()))
    }

    fn visit_borrowed_str<E>(self, value: &'v str) -> Result<CelString<'v>, E> {
        Ok(CelString::from(value))
    }
}
