//! CEL's values as JSON, in place. The same record always gives the same bytes: nothing depends on a hash map's order.

use cel::common::ast::{EntryExpr, Expr, MapExpr};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use cel::{Context, IdedExpr};
use flow_sdk::prelude::{Result, ValueWriter, reject};

use crate::{evaluate, literal_text};

/// Writes what an expression evaluates to. `value` is the record's own.
pub(crate) fn write(
    expression: &IdedExpr,
    context: &Context<'_, '_>,
    value: Option<&[u8]>,
    out: &mut ValueWriter<'_>,
) -> Result<()> {
    match &expression.expr {
        // Unchanged, it need not be written anew; the context has parsed it, so it is JSON.
        Expr::Ident(name) if name == "value" => {
            out.push(value.unwrap_or(b"null").trim_ascii());
            Ok(())
        }
        Expr::Map(map) if let Some(entries) = plain_entries(map) => {
            for (number, (name, expression)) in entries.into_iter().enumerate() {
                out.push(if number == 0 { b"{" } else { b"," });
                out.json(name)?;
                out.push(b":");
                write(expression, context, value, out)?;
            }
            out.push(b"}");
            Ok(())
        }
        _ => write_value(evaluate(expression, context)?.as_ref(), out),
    }
}

/// Name and expression of each entry of a map that is not empty and names its fields by different literals.
fn plain_entries(map: &MapExpr) -> Option<Vec<(&str, &IdedExpr)>> {
    let mut entries: Vec<(&str, &IdedExpr)> = Vec::with_capacity(map.entries.len());
    for entry in &map.entries {
        let EntryExpr::MapEntry(entry) = &entry.expr else { return None };
        let name = literal_text(&entry.key.expr)?;
        if entry.optional || entries.iter().any(|(n, _)| *n == name) {
            return None;
        }
        entries.push((name, &entry.value));
    }
    (!entries.is_empty()).then_some(entries)
}

fn write_value(value: &(dyn Val + '_), out: &mut ValueWriter<'_>) -> Result<()> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        out.json(text.inner())
    } else if let Some(number) = value.downcast_ref::<CelInt>() {
        out.json(number.inner())
    } else if let Some(number) = value.downcast_ref::<CelDouble>() {
        // JSON has no infinities; serde_json would write null in silence.
        match number.inner().is_finite() {
            true => out.json(number.inner()),
            false => Err(reject("not-json", format!("{} is no JSON number", number.inner()))),
        }
    } else if let Some(yes) = value.downcast_ref::<CelBool>() {
        out.json(yes.inner())
    } else if let Some(number) = value.downcast_ref::<CelUInt>() {
        out.json(number.inner())
    } else if value.downcast_ref::<CelNull>().is_some() {
        out.push(b"null");
        Ok(())
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        write_list(list, out)
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        write_map(map, out)
    } else {
        Err(reject("not-json", format!("a result of type {} has no form in JSON", value.get_type().name())))
    }
}

fn write_list(list: &CelList<'_>, out: &mut ValueWriter<'_>) -> Result<()> {
    out.push(b"[");
    for (number, item) in list.inner().iter().enumerate() {
        if number > 0 {
            out.push(b",");
        }
        write_value(item.as_ref(), out)?;
    }
    out.push(b"]");
    Ok(())
}

fn write_map(map: &CelMap<'_>, out: &mut ValueWriter<'_>) -> Result<()> {
    let name = |key: &CelMapKey<'_>| match key {
        CelMapKey::String(text) => text.inner().to_owned(),
        CelMapKey::Int(number) => number.inner().to_string(),
        CelMapKey::UInt(number) => number.inner().to_string(),
        CelMapKey::Bool(yes) => yes.inner().to_string(),
    };
    let mut entries: Vec<_> = map.inner().iter().map(|(key, value)| (name(key), value)).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    out.push(b"{");
    for (number, (name, value)) in entries.into_iter().enumerate() {
        if number > 0 {
            out.push(b",");
        }
        out.json(&name)?;
        out.push(b":");
        write_value(value.as_ref(), out)?;
    }
    out.push(b"}");
    Ok(())
}
