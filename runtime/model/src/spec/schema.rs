//! The JSON Schema of a pipeline file, for editors: what the reader itself looks for while it reads `reference.yaml`, a
//! pipeline that has every field in every form, with the comments above its fields as their documentation. So a field can't
//! be in one and not in the other.
//!
//! A schema knows less than the reader: that an input exists, that names are unique, that there is no cycle.

use serde_json::{Map, Value as Json, json};

use super::parse;
use super::report::Report;
use super::trace::{Shape, Trace};
use super::yaml::{self, Node, Value};
use crate::diagnostic::{Error, Position};

/// The pipeline with every field.
pub const REFERENCE: &str = include_str!("reference.yaml");

/// The dialect that editors know best.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";
const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The schema.
///
/// # Errors
/// What is wrong with the reference, which a test proves to be nothing.
pub fn schema() -> Result<Json, Error> {
    let (root, mut report) = (yaml::read("reference.yaml", REFERENCE.as_bytes())?, Report::tracing("reference.yaml"));
    parse::read(&mut report, &root);
    let trace = report.into_trace();
    let mut all = Kind::of(&root, &[], &Making { trace: &trace, lines: REFERENCE.lines().collect() }).schema();
    let mut whole = Map::from_iter([
        ("$schema".to_owned(), json!(DIALECT)),
        ("title".to_owned(), json!("A pipeline of Flow")),
        ("description".to_owned(), json!("Sources, operators and sinks, joined by `from`.")),
    ]);
    whole.append(&mut all);
    Ok(Json::Object(whole))
}

/// The fields, as `sources.*.kafka.topic`, that the reference does not show, or that have no comment there.
///
/// # Errors
/// As [`schema`].
pub fn undocumented() -> Result<Vec<String>, Error> {
    fn look(kind: &Kind, path: &str, found: &mut Vec<String>) {
        for map in &kind.maps {
            let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            for field in &map.fields {
                let at = below(&field.name);
                if field.doc.is_empty() || !field.is_shown {
                    found.push(at.clone());
                }
                look(&field.kind, &at, found);
            }
        }
        if let Some(kind) = &kind.named {
            look(kind, &format!("{path}.*"), found);
        }
    }
    let (root, mut report) = (yaml::read("reference.yaml", REFERENCE.as_bytes())?, Report::tracing("reference.yaml"));
    parse::read(&mut report, &root);
    let trace = report.into_trace();
    let mut found = Vec::new();
    look(&Kind::of(&root, &[], &Making { trace: &trace, lines: REFERENCE.lines().collect() }), "", &mut found);
    Ok(found)
}

/// What a schema is made of.
struct Making<'a> {
    trace: &'a Trace,
    /// The reference.
    lines: Vec<&'a str>,
}

impl Making<'_> {
    /// The comment above a line, as one paragraph.
    fn doc(&self, at: Position) -> String {
        let above = self.lines[..at.line as usize - 1].iter().rev();
        let comment: Vec<&str> = above.map_while(|line| line.trim_start().strip_prefix('#').map(str::trim)).collect();
        comment.into_iter().rev().collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    fn shapes(&self, map: Position, field: &str) -> &[Shape] {
        self.trace.shapes.get(&(map, field.to_owned())).map_or(&[], Vec::as_slice)
    }
}

/// Everything that a value may be.
#[derive(Default)]
struct Kind {
    shapes: Vec<Shape>,
    /// Maps with fields; several where a field tells which one it is.
    maps: Vec<FieldMap>,
    /// A map from names to this.
    named: Option<Box<Kind>>,
}

#[derive(Default)]
struct FieldMap {
    fields: Vec<Field>,
    one_of: Vec<String>,
}

struct Field {
    name: String,
    doc: String,
    /// The reference has it.
    is_shown: bool,
    is_required: bool,
    kind: Kind,
}

impl Kind {
    /// Of a value of the reference, whose field was read as `shapes`.
    fn of(node: &Node, shapes: &[Shape], making: &Making<'_>) -> Kind {
        let mut kind = Kind { shapes: shapes.to_vec(), ..Kind::default() };
        let known = making.trace.maps.get(&node.position);
        match &node.value {
            Value::Map(entries) if shapes.contains(&Shape::Named) => {
                let mut each = Kind::default();
                entries.iter().for_each(|entry| each.join(Kind::of(&entry.value, &[], making)));
                kind.named = Some(Box::new(each));
            }
            Value::Map(_) | Value::Null if known.is_some() => kind.maps.push(FieldMap::of(node, making)),
            // The reader looked at it by hand: the reference shows what it may be.
            _ if shapes.is_empty() => kind.shapes.push(match &node.value {
                Value::Text(_) => Shape::Text,
                Value::Unsigned(_) => Shape::Number(0..=u64::MAX),
                Value::Map(_) => Shape::Scalars,
                _ => Shape::Any,
            }),
            _ => {}
        }
        kind
    }

    /// Takes in what the same value is elsewhere in the reference.
    fn join(&mut self, other: Kind) {
        for shape in other.shapes {
            if !self.shapes.contains(&shape) {
                self.shapes.push(shape);
            }
        }
        for map in other.maps {
            let names = |map: &FieldMap| map.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
            match self.maps.iter_mut().find(|known| names(known) == names(&map)) {
                Some(known) => known.join(map),
                None => self.maps.push(map),
            }
        }
        match (&mut self.named, other.named) {
            (Some(kind), Some(other)) => kind.join(*other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    fn schema(&self) -> Map<String, Json> {
        // Of a field that was read as text and as one of some words, the words are the truth.
        let has_words = self.shapes.iter().any(|shape| matches!(shape, Shape::Words(_)));
        let shapes =
            self.shapes.iter().filter(|shape| !(has_words && **shape == Shape::Text) && **shape != Shape::Named);
        let mut forms: Vec<Json> = shapes.map(of_shape).chain(self.maps.iter().map(FieldMap::schema)).collect();
        forms.extend(self.named.as_ref().map(|kind| {
            json!({"type": ["object", "null"], "propertyNames": {"pattern": NAME}, "additionalProperties": kind.schema()})
        }));
        match forms.as_mut_slice() {
            [Json::Object(one)] => std::mem::take(one),
            [] => Map::new(),
            _ => Map::from_iter([("anyOf".to_owned(), Json::Array(forms))]),
        }
    }
}

impl FieldMap {
    fn of(node: &Node, making: &Making<'_>) -> FieldMap {
        let at = node.position;
        let entries = if let Value::Map(entries) = &node.value { entries.as_slice() } else { &[] };
        let known = making.trace.maps.get(&at).map_or(&[][..], Vec::as_slice);
        let field = |name: &String| {
            let entry = entries.iter().find(|entry| entry.key == *name);
            let shapes = making.shapes(at, name);
            Field {
                name: name.clone(),
                doc: entry.map_or(String::new(), |entry| making.doc(entry.position)),
                is_shown: entry.is_some(),
                is_required: making.trace.required.contains(&(at, name.clone())),
                kind: match entry {
                    Some(entry) => Kind::of(&entry.value, shapes, making),
                    None => Kind { shapes: shapes.to_vec(), ..Kind::default() },
                },
            }
        };
        let one_of = making.trace.one_of.get(&at).cloned().unwrap_or_default();
        FieldMap { fields: known.iter().map(field).collect(), one_of }
    }

    fn join(&mut self, other: FieldMap) {
        for (own, other) in self.fields.iter_mut().zip(other.fields) {
            own.is_shown |= other.is_shown;
            own.is_required &= other.is_required;
            own.kind.join(other.kind);
            if own.doc.is_empty() {
                own.doc = other.doc;
            }
        }
    }

    fn schema(&self) -> Json {
        let mut properties = Map::new();
        for Field { name, doc, kind, .. } in &self.fields {
            let mut schema = Map::new();
            if !doc.is_empty() {
                schema.insert("description".to_owned(), json!(doc));
            }
            schema.append(&mut kind.schema());
            properties.insert(name.clone(), Json::Object(schema));
        }
        let required: Vec<&String> =
            self.fields.iter().filter(|field| field.is_required).map(|field| &field.name).collect();
        let may_be_empty = required.is_empty() && self.one_of.is_empty();
        let mut schema = Map::from_iter([
            ("type".to_owned(), if may_be_empty { json!(["object", "null"]) } else { json!("object") }),
            ("properties".to_owned(), Json::Object(properties)),
            ("additionalProperties".to_owned(), json!(false)),
        ]);
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        if !self.one_of.is_empty() {
            let each: Vec<Json> = self.one_of.iter().map(|name| json!({"required": [name]})).collect();
            schema.insert("oneOf".to_owned(), json!(each));
        }
        Json::Object(schema)
    }
}

fn of_shape(shape: &Shape) -> Json {
    match shape {
        Shape::Text => json!({"type": "string", "pattern": "[^ \\t\\r\\n]"}),
        Shape::Texts => {
            let text = json!({"type": "string", "pattern": "[^ \\t\\r\\n]"});
            json!({"anyOf": [text, {"type": "array", "minItems": 1, "items": text}]})
        }
        Shape::Number(range) => number(*range.start(), *range.end()),
        Shape::Bytes(range) => {
            json!({"anyOf": [number(range.start().0, range.end().0), {"type": "string", "pattern": "^[0-9]+(Ki|Mi|Gi|Ti)?$"}]})
        }
        Shape::Duration => json!({"type": "string", "pattern": "^[0-9]*[1-9][0-9]*(ms|s|m|h|d)$"}),
        Shape::Words(words) => json!({"enum": words}),
        Shape::Scalars => {
            json!({"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}})
        }
        Shape::Any | Shape::Named => json!({}),
    }
}

fn number(least: u64, most: u64) -> Json {
    if most == u64::MAX {
        json!({"type": "integer", "minimum": least})
    } else {
        json!({"type": "integer", "minimum": least, "maximum": most})
    }
}
