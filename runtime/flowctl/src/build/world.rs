//! Is this component an operator? Its exports and imports against the published `flow:operator` worlds, by names first
//! (for a message that helps), then by their whole types. It is never run here.

use flow_model::kind::OperatorKind;
use wit_component::DecodedWasm;
use wit_parser::{Resolve, SourceMap, WorldItem};

use crate::exit::Failure;

const PACKAGE: &str = "flow:operator";
/// The version that is compiled in below.
const VERSION: &str = "0.1.0";
const SOURCES: [(&str, &str); 2] = [
    ("types.wit", include_str!("../../../../wit/operator-0.1.0/types.wit")),
    ("kinds.wit", include_str!("../../../../wit/operator-0.1.0/kinds.wit")),
];
const KINDS: [OperatorKind; 4] =
    [OperatorKind::Map, OperatorKind::Filter, OperatorKind::FlatMap, OperatorKind::Process];

/// What an operator's component says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// The kind that it exports.
    pub kind: OperatorKind,
    /// Such as `flow:operator/map-operator@0.1.0`.
    pub id: String,
}

/// Names of what a component exports and imports. `name` is for errors.
pub fn interfaces(name: &str, bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let decoded = wit_component::decode(bytes)
        .map_err(|error| Failure::invalid(format!("{name} is no valid component: {error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(Failure::invalid(format!("{name} is a WIT package, not a component")));
    };
    let world = &resolve.worlds[world];
    let names = |items: &mut dyn Iterator<Item = &WorldItem>| -> Vec<String> {
        items
            .filter_map(|item| match item {
                WorldItem::Interface { id, .. } => resolve.id_of(*id),
                WorldItem::Function(function) => Some(function.name.clone()),
                WorldItem::Type { .. } => None,
            })
            .collect()
    };
    Ok((names(&mut world.exports.values()), names(&mut world.imports.values())))
}

/// Which world of `flow:operator` the component in `bytes` targets. `name` is for errors.
pub fn check(name: &str, bytes: &[u8]) -> Result<World, Failure> {
    let (exports, imports) = interfaces(name, bytes)?;
    let kind = exported_kind(name, &exports)?;
    check_imports(name, &imports)?;
    let id = format!("{PACKAGE}/{kind}-operator@{VERSION}");
    conforms(kind, bytes).map_err(|error| {
        Failure::invalid(format!("{name} differs from the world {id}: {error:#}"))
            .hint("build it anew against the WIT files of this version of Flow")
    })?;
    Ok(World { kind, id })
}

fn exported_kind(name: &str, exports: &[String]) -> Result<OperatorKind, Failure> {
    let own: Vec<(&str, &str)> = exports
        .iter()
        .filter_map(|id| id.strip_prefix(PACKAGE)?.strip_prefix('/'))
        .map(|rest| rest.split_once('@').unwrap_or((rest, "")))
        .collect();
    if own.is_empty() {
        let found = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return Err(Failure::invalid(format!("{name} is no operator: it exports {found}"))
            .hint("an operator exports one world of flow:operator: with flow-sdk end the crate by `flow_sdk::export!(KIND Type);`"));
    }
    if let Some((_, version)) = own.iter().find(|(_, version)| *version != VERSION) {
        return Err(Failure::invalid(format!("{name} is made for {PACKAGE}@{version}; this flowctl knows {VERSION}"))
            .hint("build it against that version, or take the flowctl that belongs to it"));
    }
    let kinds: Vec<OperatorKind> =
        KINDS.into_iter().filter(|kind| own.iter().any(|(interface, _)| *interface == kind.as_str())).collect();
    match kinds[..] {
        [kind] => Ok(kind),
        [] => Err(Failure::invalid(format!("{name} exports no map, filter, flat-map or process"))),
        _ => Err(Failure::invalid(format!("{name} exports several kinds of operator at once"))
            .hint("make one component of each")),
    }
}

fn check_imports(name: &str, imports: &[String]) -> Result<(), Failure> {
    let foreign: Vec<&str> =
        imports.iter().map(String::as_str).filter(|id| !id.starts_with("flow:operator/")).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let failure = Failure::invalid(format!("{name} imports {}, which operators do not get", foreign.join(", ")));
    Err(if foreign.iter().any(|id| id.starts_with("wasi:")) {
        failure.hint("compile it for wasm32-unknown-unknown, or stub WASI out: an operator has no system interface")
    } else {
        failure
    })
}

fn conforms(kind: OperatorKind, bytes: &[u8]) -> anyhow::Result<()> {
    let mut sources = SourceMap::default();
    for (path, text) in SOURCES {
        sources.push_str(path, text);
    }
    let mut resolve = Resolve::default();
    let package = sources.parse().map_err(|(_, error)| anyhow::anyhow!("{error}"))?;
    let package = resolve.push_group(package)?;
    let world = resolve.select_world(&[package], Some(&format!("{kind}-operator")))?;
    wit_component::targets(&resolve, world, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_exports(exports: &[&str], expect: Result<OperatorKind, &str>) {
        let exports: Vec<String> = exports.iter().map(|&id| id.to_owned()).collect();
        let found = exported_kind("x.wasm", &exports).map_err(|failure| failure.message);
        assert_eq!(found, expect.map_err(str::to_owned));
    }

    #[test]
    fn tells_the_kind_from_the_exports() {
        check_exports(&["flow:operator/lifecycle@0.1.0", "flow:operator/flat-map@0.1.0"], Ok(OperatorKind::FlatMap));
        check_exports(&[], Err("x.wasm is no operator: it exports nothing"));
        check_exports(&["wasi:cli/run@0.2.0"], Err("x.wasm is no operator: it exports wasi:cli/run@0.2.0"));
        check_exports(
            &["flow:operator/map@0.9.0"],
            Err("x.wasm is made for flow:operator@0.9.0; this flowctl knows 0.1.0"),
        );
        check_exports(&["flow:operator/lifecycle@0.1.0"], Err("x.wasm exports no map, filter, flat-map or process"));
        check_exports(
            &["flow:operator/map@0.1.0", "flow:operator/filter@0.1.0"],
            Err("x.wasm exports several kinds of operator at once"),
        );
    }

    #[test]
    fn refuses_the_outside() {
        let imports = ["flow:operator/log@0.1.0".to_owned(), "wasi:clocks/wall-clock@0.2.6".to_owned()];
        let failure = check_imports("x.wasm", &imports).expect_err("a clock");
        assert_eq!(failure.message, "x.wasm imports wasi:clocks/wall-clock@0.2.6, which operators do not get");
        check_imports("x.wasm", &imports[..1]).expect("the log is granted");
    }

    #[test]
    fn the_worlds_are_complete() {
        // A component that exports nothing conforms to no world: proves that each world is found and encoded.
        let empty = super::super::component::componentize("x", b"\0asm\x01\0\0\0".to_vec()).expect("an empty module");
        for kind in KINDS {
            let error = format!("{:#}", conforms(kind, &empty).expect_err("it exports nothing"));
            assert!(error.contains("flow:operator/lifecycle@0.1.0"), "{kind}: {error}");
        }
    }
}
