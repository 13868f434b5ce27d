//! Arithmetic that takes ints and doubles at once. CEL's operators refuse that, so they are rewritten to functions that
//! make both sides doubles where one is.

use cel::common::ast::{EntryExpr, Expr, operators};
use cel::common::types::{CelDouble, CelInt, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError, IdedExpr};

type Apply = for<'b, 'v> fn(&'b (dyn Val + 'v), &(dyn Val + 'v)) -> Result<Box<dyn Val + 'v>, ExecutionError>;

macro_rules! operators {
    ($($name:ident, $function:literal, $accessor:ident, $method:ident);*) => {$(
        fn $name<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
            let apply: Apply = |left, right| match left.$accessor() {
                Some(operator) => Ok(operator.$method(right)?.into_owned()),
                None => {
                    let types = [left, right].map(|v| v.get_type().name().to_owned());
                    Err(ExecutionError::no_such_overload(stringify!($name), types.to_vec()))
                }
            };
            mixed(&args, apply)
        }
    )*

        /// Declares the functions that operators become.
        pub(crate) fn declare(env: &mut Env) {
            $(
                let declared = env.add_overload($function, $function, vec![DYN_TYPE, DYN_TYPE], $name);
                debug_assert!(declared.is_ok());
            )*
        }
    };
}
operators!(
    add, "@add", as_adder, add;
    subtract, "@subtract", as_subtractor, sub;
    multiply, "@multiply", as_multiplier, mul;
    divide, "@divide", as_divider, div;
    remainder, "@remainder", as_modder, modulo
);

fn function(operator: &str) -> Option<&'static str> {
    match operator {
        operators::ADD => Some("@add"),
        operators::SUBSTRACT => Some("@subtract"),
        operators::MULTIPLY => Some("@multiply"),
        operators::DIVIDE => Some("@divide"),
        operators::MODULO => Some("@remainder"),
        _ => None,
    }
}

fn mixed<'b, 'v>(args: &[CowVal<'b, 'v>], apply: Apply) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [left, right] = args else {
        return Err(ExecutionError::invalid_argument_count(2, args.len()));
    };
    let as_double = |int: &CelInt| CelDouble::from(*int.inner() as f64);
    let of = |v: &CowVal<'b, 'v>| (v.downcast_ref::<CelInt>().map(as_double), v.downcast_ref::<CelDouble>().is_some());
    let result = match (of(left), of(right)) {
        ((Some(left), _), (_, true)) => apply(&left, right.as_ref()),
        ((_, true), (Some(right), _)) => apply(left.as_ref(), &right),
        _ => apply(left.as_ref(), right.as_ref()),
    };
    result.map(CowVal::from)
}

/// Puts the functions in place of the operators. The steps by which CEL's macros gather lists stay as they are.
/// Gathers in `bound` the variables that the expression itself makes.
pub(crate) fn rewrite(expression: &mut IdedExpr, bound: &mut Vec<String>) {
    match &mut expression.expr {
        Expr::Call(call) => {
            if let (Some(function), 2, None) = (function(&call.func_name), call.args.len(), &call.target) {
                let gathers = matches!(&call.args[0].expr, Expr::Ident(name) if name.starts_with('@'));
                if !gathers {
                    call.func_name = function.into();
                }
            }
            call.target.iter_mut().for_each(|target| rewrite(target, bound));
            call.args.iter_mut().for_each(|part| rewrite(part, bound));
        }
        Expr::Comprehension(c) => {
            bound.extend([c.iter_var.clone(), c.accu_var.clone()]);
            bound.extend(c.iter_var2.clone());
            for part in [&mut c.iter_range, &mut c.accu_init, &mut c.loop_cond, &mut c.loop_step, &mut c.result] {
                rewrite(part, bound);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(|part| rewrite(part, bound)),
        Expr::Map(map) => map.entries.iter_mut().for_each(|e| rewrite_entry(&mut e.expr, bound)),
        Expr::Select(select) => rewrite(&mut select.operand, bound),
        Expr::Struct(s) => s.entries.iter_mut().for_each(|e| rewrite_entry(&mut e.expr, bound)),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn rewrite_entry(entry: &mut EntryExpr, bound: &mut Vec<String>) {
    match entry {
        EntryExpr::StructField(field) => rewrite(&mut field.value, bound),
        EntryExpr::MapEntry(entry) => {
            rewrite(&mut entry.key, bound);
            rewrite(&mut entry.value, bound);
        }
    }
}
