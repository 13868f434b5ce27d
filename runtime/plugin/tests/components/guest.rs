//! Components for tests, made from WebAssembly text. A guest has one body per call; the rest is the same for all: a bump
//! allocator, a description, and answers that are laid down as bytes.

use flow_dataflow::function::Kind;
use flow_frame::Parts;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Where the answer of a call is written, and where bytes lie that the tests give.
const ANSWER: u32 = 1024;
const DATA: u32 = 4096;
/// Where the allocator begins.
const HEAP: u32 = 1 << 20;
/// Where the first value's bytes lie in a frame that holds only a value column without nulls.
pub const FIRST_VALUE: u32 = 48;

/// A component to be.
#[derive(Clone)]
pub struct Guest {
    kind: Kind,
    /// Text of the functions `apply` or `process`, `init`, `before-barrier`, `end-of-input`, `describe`.
    call: String,
    init: String,
    before_barrier: String,
    end_of_input: String,
    describe: Option<String>,
    functions: String,
    imports: String,
    columns: Vec<u16>,
    ports: Vec<String>,
    states: Vec<(String, u8)>,
    capabilities: Vec<String>,
    says: Kind,
    pages: u32,
    data: Vec<u8>,
}

/// A place in the guest's memory.
#[derive(Clone, Copy)]
pub struct At {
    pub offset: u32,
    pub len: u32,
}

impl Guest {
    /// One that reads values, and answers "nothing changed", "keep all", "no rows".
    pub fn new(kind: Kind) -> Guest {
        Guest {
            kind,
            call: "(call $answer (i32.const 0) (i32.const 0))".into(),
            init: "(i32.store8 (i32.const 1024) (i32.const 0)) (i32.const 1024)".into(),
            before_barrier: "(call $answer (i32.const 0) (i32.const 0))".into(),
            end_of_input: "(call $answer (i32.const 0) (i32.const 0))".into(),
            describe: None,
            functions: String::new(),
            imports: String::new(),
            columns: vec![flow_frame::id::VALUE],
            ports: vec!["main".into()],
            states: Vec::new(),
            capabilities: Vec::new(),
            says: kind,
            pages: 64,
            data: Vec::new(),
        }
    }

    /// The body of `apply` or `process`: `$ptr` and `$len` are the batch, `$keys` and `$keys_len` the keys.
    pub fn call(mut self, body: &str) -> Guest {
        self.call = body.into();
        self
    }

    /// A map that does this with a batch whose first value begins with `x`, and gives back any other as it came.
    pub fn bad_on_x(self, body: &str) -> Guest {
        let good = match self.kind {
            Kind::Map => "(call $answer (local.get $ptr) (local.get $len))",
            _ => "(call $answer (i32.const 0) (i32.const 0))",
        };
        let body = format!(
            "(if (result i32) (i32.eq (i32.load8_u (i32.add (local.get $ptr) (i32.const {FIRST_VALUE}))) (i32.const 120))
               (then {body}) (else {good}))"
        );
        self.call(&body)
    }

    pub fn init(mut self, body: &str) -> Guest {
        self.init = body.into();
        self
    }

    pub fn end_of_input(mut self, body: &str) -> Guest {
        self.end_of_input = body.into();
        self
    }

    pub fn before_barrier(mut self, body: &str) -> Guest {
        self.before_barrier = body.into();
        self
    }

    pub fn describe(mut self, body: &str) -> Guest {
        self.describe = Some(body.into());
        self
    }

    /// More functions and globals.
    pub fn with(mut self, functions: &str) -> Guest {
        self.functions += functions;
        self
    }

    pub fn import(mut self, import: &str) -> Guest {
        self.imports += import;
        self
    }

    pub fn columns(mut self, columns: &[u16]) -> Guest {
        self.columns = columns.into();
        self
    }

    pub fn ports(mut self, ports: &[&str]) -> Guest {
        self.ports = ports.iter().map(|p| (*p).to_owned()).collect();
        self
    }

    /// Kinds: 0 value, 1 map, 2 list.
    pub fn state(mut self, name: &str, kind: u8) -> Guest {
        self.states.push((name.into(), kind));
        self
    }

    pub fn capability(mut self, name: &str) -> Guest {
        self.capabilities.push(name.into());
        self
    }

    pub fn says(mut self, kind: Kind) -> Guest {
        self.says = kind;
        self
    }

    pub fn pages(mut self, pages: u32) -> Guest {
        self.pages = pages;
        self
    }

    /// Puts bytes into the guest's memory.
    pub fn data(&mut self, bytes: &[u8]) -> At {
        let offset = DATA + self.data.len() as u32;
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        At { offset, len: bytes.len() as u32 }
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        encode(&self.core(), &format!("{}-operator", self.kind), None)
    }

    /// Its core module.
    pub fn core(&self) -> Vec<u8> {
        let mut all = self.clone();
        let describe = all.described();
        let Guest { call, init, before_barrier, end_of_input, functions, imports, pages, kind, .. } = &all;
        let describe = all.describe.as_ref().unwrap_or(&describe);
        let params = match kind {
            Kind::Process => "(param $ptr i32) (param $len i32) (param $keys i32) (param $keys_len i32)",
            _ => "(param $ptr i32) (param $len i32)",
        };
        let name = if *kind == Kind::Process { "process" } else { "apply" };
        let data: String = all.data.iter().map(|b| format!("\\{b:02x}")).collect();
        let state = match kind {
            Kind::Process => {
                r#"(import "flow:operator/state@0.1.0" "get-many" (func $get_many (param i32 i32 i32 i32)))
                   (import "flow:operator/state@0.1.0" "put-many" (func $put_many (param i32 i32 i32)))
                   (import "flow:operator/state@0.1.0" "append-many" (func $append_many (param i32 i32 i32)))
                   (import "flow:operator/state@0.1.0" "clear-many" (func $clear_many (param i32 i32 i32)))
                   (import "flow:operator/state@0.1.0" "scan"
                     (func $scan (param i32 i32 i32 i32 i32 i32 i32)))"#
            }
            _ => "",
        };
        let text = format!(
            r#"(module $guest
  (import "flow:operator/log@0.1.0" "log" (func $log (param i32 i32 i32)))
  {state}
  {imports}
  (memory (export "memory") {pages})
  (global $heap (mut i32) (i32.const {HEAP}))
  (data (i32.const {DATA}) "{data}")
  (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.const 1)
        (i32.sub (i32.shr_u (global.get $heap) (i32.const 16)) (memory.size)))))))
    (local.get $at))
  (func $zero
    (memory.fill (i32.const {ANSWER}) (i32.const 0) (i32.const 64)))
  (func $answer (param $rows i32) (param $len i32) (result i32)
    (call $zero)
    (i32.store (i32.const {rows}) (local.get $rows))
    (i32.store (i32.const {rows_len}) (local.get $len))
    (i32.const {ANSWER}))
  (func $keyed (param $rows i32) (param $len i32) (param $states i32) (param $states_len i32) (result i32)
    (drop (call $answer (local.get $rows) (local.get $len)))
    (i32.store (i32.const {states}) (local.get $states))
    (i32.store (i32.const {states_len}) (local.get $states_len))
    (i32.const {ANSWER}))
  (func $reject (param $list i32) (param $rows i32) (result i32)
    (call $zero)
    (i32.store (i32.const {states}) (local.get $list))
    (i32.store (i32.const {states_len}) (local.get $rows))
    (i32.const {ANSWER}))
  (func $fail (param $code i32) (param $code_len i32) (param $text i32) (param $text_len i32) (param $again i32)
    (result i32)
    (i32.store8 (i32.const {ANSWER}) (i32.const 1))
    (i32.store (i32.const {rows}) (local.get $code))
    (i32.store (i32.const {rows_len}) (local.get $code_len))
    (i32.store (i32.const {states}) (local.get $text))
    (i32.store (i32.const {states_len}) (local.get $text_len))
    (i32.store8 (i32.const {again}) (local.get $again))
    (i32.const {ANSWER}))
  {functions}
  (func (export "flow:operator/lifecycle@0.1.0#describe") (result i32) {describe})
  (func (export "flow:operator/lifecycle@0.1.0#init")
    (param $operator i32) (param $operator_len i32) (param $config i32) (param $config_len i32)
    (param $subtask i32) (param $parallelism i32) (param $from i32) (param $to i32) (result i32) {init})
  (func (export "flow:operator/lifecycle@0.1.0#before-barrier") (param $checkpoint i64) (result i32) {before_barrier})
  (func (export "flow:operator/lifecycle@0.1.0#end-of-input") (result i32) {end_of_input})
  (func $call (export "flow:operator/{kind}@0.1.0#{name}")
    {params} (param $now i64) (param $watermark i64) (result i32) {call})
  (func (export "cabi_post_flow:operator/{kind}@0.1.0#{name}") (param i32) (global.set $heap (i32.const {HEAP}))))"#,
            rows = ANSWER + 4,
            rows_len = ANSWER + 8,
            states = ANSWER + 12,
            states_len = ANSWER + 16,
            again = ANSWER + 20,
        );
        wat::parse_str(text).expect("the guest's text is valid")
    }

    /// Lays the description down and gives the body that answers it.
    fn described(&mut self) -> String {
        let columns: Vec<u8> = self.columns.iter().flat_map(|c| c.to_le_bytes()).collect();
        let columns = (self.data(&columns), self.columns.len());
        let ports = self.ports.clone().iter().fold(Vec::new(), |mut out, port| {
            let name = self.data(port.as_bytes());
            out.extend(words(&[name.offset, name.len, 0, 0, 0]));
            out
        });
        let ports = (self.data(&ports), self.ports.len());
        let states = self.states.clone().iter().fold(Vec::new(), |mut out, (name, kind)| {
            let (name, encoding) = (self.data(name.as_bytes()), self.data(b"raw"));
            out.extend(words(&[name.offset, name.len, u32::from(*kind), 1, encoding.offset, encoding.len]));
            out
        });
        let states = (self.data(&states), self.states.len());
        let needs = self.capabilities.clone().iter().fold(Vec::new(), |mut out, name| {
            let name = self.data(name.as_bytes());
            out.extend(words(&[name.offset, name.len]));
            out
        });
        let needs = (self.data(&needs), self.capabilities.len());
        let list = |(at, n): (At, usize)| [at.offset, n as u32];
        let kind = [Kind::Map, Kind::Filter, Kind::FlatMap, Kind::Process].iter().position(|k| *k == self.says);
        let kind = kind.expect("all kinds are listed") as u32;
        let lists = [list(columns), list(ports), list(states), [0, 0], list(needs), [0, 0]].concat();
        // `unordered` lies between the states and the capabilities.
        let record = [&[kind], &lists[..6], &[0], &lists[8..]].concat();
        let at = self.data(&words(&record));
        format!("(i32.const {})", at.offset)
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A rejection as it lies in memory.
pub fn rejection(row: u32, code: At, message: At) -> Vec<u8> {
    words(&[row, code.offset, code.len, message.offset, message.len])
}

/// A component of a core module, for a world of `wit/`; with `other`, for a world of that text instead.
pub fn encode(core: &[u8], world: &str, other: Option<&str>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = match other {
        Some(text) => resolve.push_str("other.wit", text).expect("the test's WIT is valid"),
        None => {
            let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/operator-0.1.0");
            resolve.push_dir(wit).expect("wit/ is valid").0
        }
    };
    let world = resolve.select_world(&[package], Some(world)).expect("the world exists");
    let mut module = core.to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it fits");
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).expect("the module fits its world");
    encoder.encode().expect("the module fits its world")
}

/// A frame of columns.
pub fn frame(rows: usize, columns: &[Parts<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    flow_frame::assemble(rows, columns, &mut out);
    out
}
