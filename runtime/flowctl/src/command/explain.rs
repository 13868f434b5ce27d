//! `flowctl explain`: what a field of the pipeline file is for, from the same schema that editors use.

use std::collections::BTreeSet;

use flow_model::spec::schema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::Shown;
use crate::codes;
use crate::deployment::invalid;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::table;

/// Tell what a field of the pipeline file is for, or an error's code
///
/// Of a field also what it may be, and whether it has to be there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl explain                            the fields of the whole file
  flowctl explain sources.kafka.start        names of sources, operators and sinks are left out
  flowctl explain operators.limits
  flowctl explain kind-mismatch              a code of an error in JSON, of a log or of a dead letter")]
pub struct Args {
    /// The field, with dots, or a code
    #[arg(default_value = "")]
    field: String,

    #[command(flatten)]
    pub shown: Shown,
}

/// What is known of a field.
#[derive(Debug, Serialize, PartialEq)]
struct Explanation {
    field: String,
    description: String,
    #[serde(rename = "type")]
    form: String,
    required: bool,
    fields: Vec<Below>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Below {
    field: String,
    #[serde(rename = "type")]
    form: String,
    required: bool,
    description: String,
}

/// Tells it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let schema = schema::schema().map_err(|error| invalid(error.diagnostics))?;
    let explanation = match (explain(&schema, &args.field), codes::meaning(&args.field)) {
        (Err(_), Some((sort, meaning))) => {
            let (field, form) = (args.field.clone(), sort.to_owned());
            Explanation { field, description: meaning.to_owned(), form, required: false, fields: Vec::new() }
        }
        (explanation, _) => explanation?,
    };
    output.print(&explanation, || text(&explanation, output))?;
    Ok(Exit::Ok)
}

fn explain(schema: &Value, path: &str) -> Result<Explanation, Failure> {
    let (mut at, mut required, mut come) = (schema, true, String::new());
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let maps = maps(at);
        let found = maps.iter().find_map(|map| Some((map, map["properties"].as_object()?.get(name)?)));
        let Some((map, below)) = found else {
            let known: BTreeSet<&str> = maps.iter().flat_map(|map| names(map)).collect();
            let whole = if come.is_empty() { "a pipeline file".to_owned() } else { format!("\"{come}\"") };
            let known: Vec<&str> = known.into_iter().collect();
            let hint = if known.is_empty() {
                "it has no fields".to_owned()
            } else {
                format!("its fields: {}", known.join(", "))
            };
            return Err(
                Failure::new(Exit::Invalid, "unknown-field", format!("{whole} has no field \"{name}\"")).hint(hint)
            );
        };
        (at, required) = (below, is_required(map, name));
        come = if come.is_empty() { name.to_owned() } else { format!("{come}.{name}") };
    }
    let mut fields: Vec<Below> = Vec::new();
    for map in maps(at) {
        for (name, below) in map["properties"].as_object().into_iter().flatten() {
            if fields.iter().all(|known| known.field != *name) {
                let description = description(below);
                fields.push(Below {
                    field: name.clone(),
                    form: form(below),
                    required: is_required(map, name),
                    description,
                });
            }
        }
    }
    let field = if come.is_empty() { "the pipeline file".into() } else { come };
    Ok(Explanation { field, description: description(at), form: form(at), required, fields })
}

fn names(map: &Value) -> impl Iterator<Item = &str> {
    map["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str)
}

fn is_required(map: &Value, name: &str) -> bool {
    map["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name))
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// The maps with fields that a value may be. Through names that users choose it looks at what they name.
fn maps(schema: &Value) -> Vec<&Value> {
    let forms = schema["anyOf"].as_array().map_or(vec![schema], |forms| forms.iter().collect());
    let below = forms.into_iter().flat_map(|form| match form["additionalProperties"].as_object() {
        Some(_) if form.get("propertyNames").is_some() => maps(&form["additionalProperties"]),
        _ => vec![form],
    });
    below.filter(|form| form["properties"].is_object()).collect()
}

/// What a value may be, in a few words.
fn form(schema: &Value) -> String {
    if let Some(forms) = schema["anyOf"].as_array() {
        let mut all: Vec<String> = forms.iter().map(form).collect();
        all.dedup();
        // The longer form says that it may be plain bytes.
        return if all.iter().any(|one| one == "byte size") { "byte size".into() } else { all.join(" or ") };
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") if pattern.contains("(Ki|") => "byte size".into(),
        Some("string") if pattern.contains("(ms|") => "duration".into(),
        Some("string") => "text".into(),
        Some("integer") => match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("number {least}..{most}"),
            (Some(least), None) if least > 0 => format!("number from {least}"),
            _ => "number".into(),
        },
        Some("array") => "list".into(),
        Some("object") if schema.get("propertyNames").is_some() => "map from names".into(),
        Some("object") => "map".into(),
        _ => "anything".into(),
    }
}

fn text(explanation: &Explanation, output: &Output) -> String {
    let Explanation { field, description, form, required, fields } = explanation;
    let needed = if *required { ", required" } else { "" };
    let mut text = format!("{}  ({form}{needed})\n\n{}\n", output.styled("1", field), wrapped(description));
    if !fields.is_empty() {
        let rows = fields.iter().map(|below| {
            let first = below.description.split_inclusive(". ").next().unwrap_or_default().trim_end();
            let needed = if below.required { "required" } else { "" };
            vec![below.field.clone(), below.form.clone(), needed.to_owned(), first.to_owned()]
        });
        text += &format!("\n{}", table(&["FIELD", "TYPE", "", "FOR"], rows));
    }
    text
}

/// In lines of a width that reads well.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 100;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(path: &str) -> Explanation {
        explain(&schema::schema().expect("it is good"), path).unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    #[test]
    fn fields_are_found_through_names() {
        let path = explained("sources.files.path");
        assert_eq!((path.form.as_str(), path.required), ("text", true));
        assert!(path.description.starts_with("A file, a directory"), "{}", path.description);
        let limits = explained("operators.limits");
        assert!(limits.fields.iter().any(|below| below.field == "memory" && below.form == "byte size"), "{limits:?}");
        assert_eq!(explained("sources").form, "map from names");
        assert!(explained("").fields.iter().any(|below| below.field == "sinks"));
        assert_eq!(explained("operators.from").form, "text or list");
    }

    #[test]
    fn what_is_not_there() {
        let failure = explain(&schema::schema().expect("it is good"), "sources.kafka.tpoic").expect_err("a slip");
        assert_eq!(failure.message, "\"sources.kafka\" has no field \"tpoic\"");
        assert!(failure.hint.is_some_and(|hint| hint.contains("topic")));
    }
}
