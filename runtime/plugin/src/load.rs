//! From bytes to a component that is known to be an operator of a served version. Nothing of it runs before its world is
//! checked; then `describe` runs, under limits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::{Digest as _, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use flow_dataflow::Function;
use flow_dataflow::function::{Description, Kind};
use flow_dataflow::report::{Level, Place, Rejected, Report};

use crate::bindings::{PACKAGE, VERSION};
use crate::engine::Engine;
use crate::instance::{Host, Instance};
use crate::interrupt::{self, Refused, Watch};
use crate::log::Lines;
use crate::{Error, Limits, describe, function, imports};

/// SHA-256 of a component's bytes; shown as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What instances of a component share.
pub struct Program {
    pub pre: InstancePre<Host>,
    pub exports: Exports,
    pub watch: Arc<Watch>,
    pub replace_every: Option<u64>,
    pub fuel: Option<u64>,
}

/// Where a component's functions are.
pub struct Exports {
    pub kind: Kind,
    pub describe: ComponentExportIndex,
    pub init: ComponentExportIndex,
    pub before_barrier: ComponentExportIndex,
    pub end_of_input: ComponentExportIndex,
    /// `apply` or `process`.
    pub call: ComponentExportIndex,
    /// What rewriting has added: each page, and the start function that came with it.
    pub pages: Vec<(ComponentExportIndex, Option<ComponentExportIndex>)>,
}

/// A checked component, ready to be instantiated. A clone shares its code.
#[derive(Clone)]
pub struct Component {
    name: String,
    digest: Digest,
    description: Arc<Description>,
    program: Arc<Program>,
}

/// Where an instance works.
#[derive(Clone)]
pub struct Setup {
    /// The operator's name in the pipeline.
    pub operator: String,
    /// Its config as JSON text, `null` for none.
    pub config: String,
    /// Which of the operator's subtasks this is.
    pub subtask: u32,
    /// How many there are.
    pub parallelism: u32,
    /// First and last key group of the subtask.
    pub key_groups: (u32, u32),
    /// What each of its instances may use.
    pub limits: Limits,
    /// Where its lines go.
    pub report: Arc<dyn Report>,
    /// Set when the job is to stop: a call at hand is ended.
    pub stop: Arc<AtomicBool>,
}

impl Component {
    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Memory maps of the process that an instance takes, about: a memory is a range with guards around it, and each of its
    /// modules with code has one beside its own. Measured on Linux: 8 for Rust, 78 for Python.
    pub fn maps(&self) -> u64 {
        2 * self.program.exports.pages.len() as u64 + 4
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.description.kind
    }

    /// An instance of it for one subtask, initialized. Later instances of the same subtask are made when they are needed.
    pub fn instantiate(&self, setup: Setup) -> Result<Box<dyn Function>, Error> {
        let function = function::Component::new(self.program.clone(), self.description.clone(), setup)
            .map_err(|cause| Error::Call { name: self.name.clone(), call: "init", cause })?;
        Ok(Box::new(function))
    }
}

/// See [`Engine::load`].
pub fn load(engine: &Engine, name: &str, bytes: &[u8], limits: &Limits) -> Result<Component, Error> {
    sniff(name, bytes)?;
    let digest = Digest::of(bytes);
    let inner = &engine.inner;
    let rewritten = rewrite(name, bytes)?;
    // By the bytes that are compiled: code from before a change of the rewriting is another file.
    let compiled = Digest::of(&rewritten);
    let cached = inner.cache.as_ref().and_then(|cache| cache.get(&inner.wasm, compiled));
    let code = match cached {
        Some(code) => code,
        None => {
            let code = wasmtime::component::Component::from_binary(&inner.wasm, &rewritten)
                .map_err(|e| Error::Invalid { name: name.to_owned(), cause: format!("{e:#}") })?;
            if let Some(cache) = &inner.cache {
                cache.put(&code, compiled);
            }
            code
        }
    };
    let kind = check_exports(engine, name, &code)?;
    check_imports(engine, name, &code, kind)?;
    let types = |interface: String| {
        let name = name.to_owned();
        move |e: wasmtime::Error| Error::Types { name, interface, cause: format!("{e:#}") }
    };
    let pre = inner.linker.instantiate_pre(&code).map_err(types("an import".into()))?;
    let exports = find_exports(name, &code, kind)?;
    let (watch, replace_every) = (inner.watch.clone(), inner.replace_every);
    let program = Arc::new(Program { pre, exports, watch, replace_every, fuel: inner.fuel });
    let failed = |call| move |cause| Error::Call { name: name.to_owned(), call, cause };
    let lines = Arc::new(Lines::new(Arc::new(Unheard), 0));
    let mut instance = Instance::new(&program, *limits, lines, Arc::default()).map_err(failed("instantiate"))?;
    instance.check_types().map_err(|(interface, e)| types(format!("{PACKAGE}/{interface}@{VERSION}"))(e))?;
    let said = instance.describe().map_err(failed("describe"))?;
    let description = describe::check(said, kind)
        .map_err(|cause| Error::Description { name: name.to_owned(), cause: cause.to_string() })?;
    Ok(Component { name: name.to_owned(), digest, description: Arc::new(description), program })
}

fn rewrite(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let name = name.to_owned();
    interrupt::rewrite(bytes).map_err(|e| match e {
        Refused::Invalid(e) => Error::Invalid { name, cause: e.to_string() },
        Refused::Nested | Refused::Reserved(_) => Error::Unserved { name, cause: e.to_string() },
    })
}

/// Says what bytes are that can't be a component.
fn sniff(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let name = name.to_owned();
    let found = match bytes {
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => return Err(Error::CoreModule { name }),
        [b'\0', b'a', b's', b'm', ..] => return Ok(()),
        [] => "the file is empty",
        [0x7f, b'E', b'L', b'F', ..] => "it is a native program or library (ELF)",
        [b'#', b'!', ..] => "it is a script",
        [b'P', b'K', 3, 4, ..] | [0x1f, 0x8b, ..] => "it is an archive",
        bytes if bytes.iter().all(|b| *b == 0) => {
            let found = format!("it holds {} zero bytes and nothing else", bytes.len());
            return Err(Error::NotWasm { name, found });
        }
        bytes if text(bytes).is_some_and(|text| text.trim_start().starts_with('(')) => {
            "it is WebAssembly text; translate it to binary first"
        }
        bytes if text(bytes).is_some() => "it is text",
        bytes => {
            let start: Vec<_> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            let found = format!("it begins with the bytes {} instead of 00 61 73 6d", start.join(" "));
            return Err(Error::NotWasm { name, found });
        }
    };
    Err(Error::NotWasm { name, found: found.into() })
}

/// The beginning of what people wrote with an editor: UTF-8 without the control characters that nobody types.
fn text(bytes: &[u8]) -> Option<&str> {
    let start = &bytes[..bytes.len().min(4096)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character is cut at the end of the beginning.
        Err(e) if e.error_len().is_none() && start.len() < bytes.len() => {
            std::str::from_utf8(&start[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_typed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b');
    text.chars().all(is_typed).then_some(text)
}

/// An interface's name without the package and version, and the version, if it is of our package.
fn ours(interface: &str) -> Option<(&str, &str)> {
    let (path, version) = interface.split_once('@').unwrap_or((interface, ""));
    let (package, name) = path.split_once('/')?;
    (package == PACKAGE).then_some((name, version))
}

fn kind_of(interface: &str) -> Option<Kind> {
    [Kind::Map, Kind::Filter, Kind::FlatMap, Kind::Process].into_iter().find(|k| k.as_str() == interface)
}

/// The kind that the component's exports make it.
fn check_exports(engine: &Engine, name: &str, code: &wasmtime::component::Component) -> Result<Kind, Error> {
    let ty = code.component_type();
    let own = |name: &str| !name.starts_with(interrupt::PAGE) && !name.starts_with(interrupt::START);
    let names = sorted(ty.exports(&engine.inner.wasm).map(|(e, _)| e.to_owned()).filter(|name| own(name)));
    check_versions(name, &names)?;
    let kinds: Vec<_> = names.iter().filter_map(|n| kind_of(ours(n)?.0)).collect();
    let name = name.to_owned();
    match kinds[..] {
        [kind] => Ok(kind),
        [] => {
            let exports = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            Err(Error::NoOperator { name, exports })
        }
        _ => {
            let kinds: Vec<_> = kinds.iter().map(|k| k.as_str()).collect();
            Err(Error::SeveralKinds { name, kinds: kinds.join(", ") })
        }
    }
}

fn check_imports(engine: &Engine, name: &str, code: &wasmtime::component::Component, kind: Kind) -> Result<(), Error> {
    let ty = code.component_type();
    let names = sorted(ty.imports(&engine.inner.wasm).map(|(import, _)| import.to_owned()));
    check_versions(name, &names)?;
    let served = |import: &str| {
        ours(import).is_some_and(|(i, _)| imports::SERVED.contains(&i) && (i != "state" || kind == Kind::Process))
    };
    let missing: Vec<_> = names.into_iter().filter(|n| !served(n)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Imports { name: name.to_owned(), imports: missing.join(", ") })
}

/// In an order of their own, so that the same component is always told the same.
fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn check_versions(name: &str, interfaces: &[String]) -> Result<(), Error> {
    match interfaces.iter().find(|i| ours(i).is_some_and(|(_, version)| version != VERSION)) {
        Some(other) => Err(Error::Version { name: name.to_owned(), interface: other.clone() }),
        None => Ok(()),
    }
}

fn find_exports(name: &str, code: &wasmtime::component::Component, kind: Kind) -> Result<Exports, Error> {
    let find = |interface: &str, function: &str| {
        let path = format!("{PACKAGE}/{interface}@{VERSION}");
        let found = code.get_export_index(None, &path).and_then(|i| code.get_export(Some(&i), function));
        match found {
            Some((ComponentItem::ComponentFunc(_), index)) => Ok(index),
            _ => {
                Err(Error::Types { name: name.to_owned(), interface: path, cause: format!("`{function}` is missing") })
            }
        }
    };
    Ok(Exports {
        kind,
        describe: find("lifecycle", "describe")?,
        init: find("lifecycle", "init")?,
        before_barrier: find("lifecycle", "before-barrier")?,
        end_of_input: find("lifecycle", "end-of-input")?,
        call: find(kind.as_str(), if kind == Kind::Process { "process" } else { "apply" })?,
        pages: (0..)
            .map_while(|n| Some((added(code, interrupt::PAGE, n)?, added(code, interrupt::START, n))))
            .collect(),
    })
}

fn added(code: &wasmtime::component::Component, name: &str, number: usize) -> Option<ComponentExportIndex> {
    code.get_export_index(None, format!("{name}{number}"))
}

/// Where lines go that a component logs while it describes itself; a panic's text is kept all the same.
struct Unheard;

impl Report for Unheard {
    fn log(&self, _: Level, _: &str) {}

    fn rejected(&self, _: &Rejected) {}

    fn locate(&self, split: u32, position: i64) -> Place {
        format!("{split}:{position}").into()
    }
}
