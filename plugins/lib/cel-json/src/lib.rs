//! CEL expressions over JSON records, for the operators `json-map` and `json-filter`.
//!
//! An expression sees the record as four variables: `value` (the value parsed as JSON; null where it is null), `key`
//! (string, bytes where it is not UTF-8, or null), `timestamp` (milliseconds since the Unix epoch, or null) and `headers`
//! (a map; the last of a name counts). JSON's whole numbers are ints, others doubles; unlike in plain CEL, arithmetic
//! takes both at once, since `2` and `2.5` are the same kind of thing in JSON.
//!
//! Must never panic on any expression or record: a wrong expression is an error at the start, a record that does not fit
//! is refused.

mod arithmetic;
mod input;
mod output;

use std::sync::Arc;

use cel::common::ast::Expr;
use cel::common::value::CowVal;
use cel::{Context, Env, IdedExpr, Value};
use flow_sdk::prelude::{Column, Record, Result, ValueWriter, fail, reject};

/// What an operator that runs expressions has to read.
pub const READS: &[Column] = &[Column::Key, Column::Value, Column::Timestamp, Column::Headers];

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    expression: IdedExpr,
    env: Arc<EnvBox>,
    uses: Uses,
}

/// The environment, apart for its missing `Debug`.
struct EnvBox(Arc<Env>);

impl std::fmt::Debug for EnvBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

/// Which variables the expression names: the others need not be made.
#[derive(Debug)]
struct Uses {
    value: bool,
    key: bool,
    timestamp: bool,
    headers: bool,
}

impl Expression {
    /// Compiles an expression. The error names the place; `field` is the config's field it came from.
    pub fn compile(field: &str, source: &str) -> Result<Expression> {
        let mut env = Env::stdlib();
        arithmetic::declare(&mut env);
        let program = env.compile(source).map_err(|errors| {
            let all: Vec<String> =
                errors.errors.iter().map(|e| format!("line {}, column {}: {}", e.pos.0, e.pos.1, e.msg)).collect();
            fail("bad-config", format!("config.{field}: {}", all.join("; ")))
        })?;
        let (mut expression, mut bound) = (program.expression().clone(), Vec::new());
        arithmetic::rewrite(&mut expression, &mut bound);
        let references = program.references();
        let known = ["value", "key", "timestamp", "headers"];
        let is_known = |v: &str| known.contains(&v) || is_type(v) || bound.iter().any(|b| b == v);
        if let Some(unknown) = references.variables().into_iter().find(|v| !is_known(v)) {
            let message = format!("config.{field}: there is no variable `{unknown}`; a record is {}", known.join(", "));
            return Err(fail("bad-config", message));
        }
        let uses = Uses {
            value: references.has_variable("value"),
            key: references.has_variable("key"),
            timestamp: references.has_variable("timestamp"),
            headers: references.has_variable("headers"),
        };
        Ok(Expression { expression, env: Arc::new(EnvBox(Arc::new(env))), uses })
    }

    /// Whether the record makes the expression true. Refuses a record for which it is neither true nor false.
    pub fn test(&self, record: &Record<'_>) -> Result<bool> {
        let context = self.context(record)?;
        match evaluate(&self.expression, &context)?.downcast_ref::<cel::common::types::CelBool>() {
            Some(result) => Ok(*result.inner()),
            None => Err(reject("not-a-bool", "the expression is neither true nor false for this record")),
        }
    }

    /// The expression's result for the record, which must be a string: any other refuses the record. None for null.
    pub fn text(&self, record: &Record<'_>) -> Result<Option<String>> {
        let context = self.context(record)?;
        let result = evaluate(&self.expression, &context)?;
        if result.downcast_ref::<cel::common::types::CelNull>().is_some() {
            return Ok(None);
        }
        match result.downcast_ref::<cel::common::types::CelString>() {
            Some(text) => Ok(Some(text.inner().to_owned())),
            None => Err(reject("not-a-string", "the expression gives no string for this record")),
        }
    }

    /// The expression's result for the record, which must be a whole number from 0 on: any other refuses the record. None for
    /// null.
    pub fn number(&self, record: &Record<'_>) -> Result<Option<u32>> {
        let context = self.context(record)?;
        let result = evaluate(&self.expression, &context)?;
        if result.downcast_ref::<cel::common::types::CelNull>().is_some() {
            return Ok(None);
        }
        let number = result.downcast_ref::<cel::common::types::CelInt>().and_then(|n| u32::try_from(*n.inner()).ok());
        number
            .map(Some)
            .ok_or_else(|| reject("not-a-number", "the expression gives no whole number from 0 on for this record"))
    }

    /// Writes the expression's result for the record as JSON. The fields of an object that the expression spells out come
    /// in its order; those of other maps by name, so that the same record always gives the same bytes.
    pub fn write(&self, record: &Record<'_>, out: &mut ValueWriter<'_>) -> Result<()> {
        let context = self.context(record)?;
        output::write(&self.expression, &context, record.value(), out)
    }

    fn context<'v>(&self, record: &Record<'v>) -> Result<Context<'v, 'v>> {
        let mut context = Context::with_env(self.env.0.clone());
        if self.uses.value {
            context.add_variable_as_val("value", input::parse(record.value())?);
        }
        if self.uses.key {
            context.add_variable_as_val("key", input::text(record.key()));
        }
        if self.uses.timestamp {
            context.add_variable_as_val("timestamp", input::int(record.timestamp()));
        }
        if self.uses.headers {
            context.add_variable_as_val("headers", input::headers(record.headers()));
        }
        Ok(context)
    }
}

/// Names of types, which `type(x) == int` refers to like a variable.
fn is_type(name: &str) -> bool {
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"].contains(&name)
}

/// Evaluates a part of an expression; an error refuses the record.
fn evaluate<'e, 'v>(expression: &'e IdedExpr, context: &'e Context<'_, 'v>) -> Result<CowVal<'e, 'v>> {
    Value::resolve_val(expression, context).map_err(|e| reject("expression", e.to_string()))
}

/// The text of a string literal.
fn literal_text(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Literal(cel::common::ast::LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
