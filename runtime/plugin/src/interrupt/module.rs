//! Rewrites a core module: a page, checks that write to it, and exports by which the host finds them.
//!
//! All that is new is appended to its index space, so that what is there keeps its numbers. A start function becomes an
//! export, since it must not run before the host knows the page.

use wasm_encoder::{CodeSection, Encode, Function, Module, RawSection, SectionId};
use wasmparser::types::TypesRef;
use wasmparser::{BinaryReader, BinaryReaderError, FunctionBody, KnownCustom, Operator, Payload};

/// The memory that is the page.
pub const PAGE: &str = "flow:page";
/// A function that returns where the page's address and length are in the page: a list in the canonical ABI.
pub const PLACE: &str = "flow:place";
/// What was the start function.
pub const START: &str = "flow:start";

/// Bytes of the page: the least that a memory can have.
pub const PAGE_BYTES: usize = 1 << 16;
/// Where `PLACE` writes the list.
const LIST_AT: i32 = 8;

/// The order of sections in a module.
const ORDER: [SectionId; 13] = [
    SectionId::Type,
    SectionId::Import,
    SectionId::Function,
    SectionId::Table,
    SectionId::Memory,
    SectionId::Tag,
    SectionId::Global,
    SectionId::Export,
    SectionId::Start,
    SectionId::Element,
    SectionId::DataCount,
    SectionId::Code,
    SectionId::Data,
];

/// A module while its sections are read.
#[derive(Default)]
pub struct Parts<'a> {
    sections: Vec<(u8, &'a [u8])>,
    bodies: Vec<FunctionBody<'a>>,
    /// The section of functions' names, for backtraces.
    names: Option<&'a [u8]>,
    start: Option<u32>,
}

/// What became of a module.
pub struct Rewritten {
    pub bytes: Vec<u8>,
    /// Whether it has code, and so a page.
    pub has_page: bool,
    pub has_start: bool,
}

impl<'a> Parts<'a> {
    /// Takes a section. `all` is what the offsets in `payload` count from.
    pub fn take(&mut self, payload: Payload<'a>, all: &'a [u8]) {
        match payload {
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::CodeSectionStart { .. } | Payload::Version { .. } => {}
            Payload::StartSection { func, .. } => self.start = Some(func),
            // Other custom sections tell of positions in the code, which move.
            Payload::CustomSection(custom) => {
                if let KnownCustom::Name(_) = custom.as_known() {
                    self.names = Some(custom.data());
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    self.sections.extend(all.get(range).map(|data| (id, data)));
                }
            }
        }
    }

    /// Writes the module anew. `types` is what validation found in it.
    pub fn finish(self, types: TypesRef<'_>) -> Result<Rewritten, BinaryReaderError> {
        // A start function may be an imported one.
        let has_page = !self.bodies.is_empty() || self.start.is_some();
        let (memory, place) = (types.memory_count(), types.function_count());
        let mut module = Module::new();
        for id in ORDER {
            let old = self.sections.iter().find(|(other, _)| *other == id as u8).map(|(_, data)| *data);
            let new: Vec<Vec<u8>> = match id {
                SectionId::Type if has_page => vec![TYPE_OF_PLACE.to_vec()],
                SectionId::Function if has_page => vec![encoded(&types.core_type_count_in_module())],
                SectionId::Memory if has_page => vec![MEMORY.to_vec()],
                SectionId::Export if has_page => {
                    let start = self.start.map(|f| export(START, 0, f));
                    [export(PAGE, 2, memory), export(PLACE, 0, place)].into_iter().chain(start).collect()
                }
                SectionId::Code if has_page => {
                    let mut code = CodeSection::new();
                    for body in &self.bodies {
                        code.raw(&checked(body, memory)?);
                    }
                    code.raw(&body_of_place(memory));
                    module.section(&code);
                    continue;
                }
                _ => Vec::new(),
            };
            if old.is_some() || !new.is_empty() {
                module.section(&RawSection { id: id as u8, data: &longer(old, &new)? });
            }
        }
        if let Some(data) = self.names {
            module.section(&wasm_encoder::CustomSection { name: "name".into(), data: data.into() });
        }
        Ok(Rewritten { bytes: module.finish(), has_page, has_start: self.start.is_some() })
    }
}

/// `() -> i32`.
const TYPE_OF_PLACE: [u8; 4] = [0x60, 0, 1, 0x7f];
/// From one to one page of 64 KiB.
const MEMORY: [u8; 3] = [1, 1, 1];

fn encoded(what: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    what.encode(&mut bytes);
    bytes
}

fn export(name: &str, kind: u8, index: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    name.encode(&mut bytes);
    bytes.push(kind);
    index.encode(&mut bytes);
    bytes
}

/// A section of items with more of them at its end.
fn longer(section: Option<&[u8]>, items: &[Vec<u8>]) -> Result<Vec<u8>, BinaryReaderError> {
    let section = section.unwrap_or(&[0]);
    if items.is_empty() {
        return Ok(section.to_vec());
    }
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32()?;
    let mut bytes = encoded(&(count + items.len() as u32));
    bytes.extend(&section[reader.original_position()..]);
    bytes.extend(items.iter().flatten());
    Ok(bytes)
}

fn byte_to_page(memory: u32) -> Vec<u8> {
    use wasm_encoder::{Instruction, MemArg};
    let to = MemArg { offset: 0, align: 0, memory_index: memory };
    let mut bytes = Vec::new();
    for instruction in [Instruction::I32Const(0), Instruction::I32Const(0), Instruction::I32Store8(to)] {
        instruction.encode(&mut bytes);
    }
    bytes
}

/// Behind so many calls, and instructions that take as long as a memory is large, comes a check.
const IN_A_ROW: usize = 8;

/// A function's body with its checks.
///
/// A loop without end passes its head again and again; a recursion without loops, or a tree of calls too wide to be walked,
/// passes functions that call. What is left between two checks is code without loops, a handful of functions long.
fn checked(body: &FunctionBody<'_>, memory: u32) -> Result<Vec<u8>, BinaryReaderError> {
    let (range, bytes) = (body.range(), body.as_bytes());
    let mut operators = body.get_operators_reader()?;
    let begin = operators.original_position();
    let (mut checks, mut long) = (Vec::new(), 0);
    while !operators.eof() {
        let operator = operators.read()?;
        match operator {
            Operator::Loop { .. } => checks.push(operators.original_position()),
            Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::MemoryGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::TableGrow { .. } => {
                long += 1;
                if long % IN_A_ROW == 0 {
                    checks.push(operators.original_position());
                }
            }
            _ => {}
        }
    }
    if long > 0 {
        checks.insert(0, begin);
    }
    let check = byte_to_page(memory);
    let mut out = Vec::with_capacity(bytes.len() + checks.len() * check.len());
    let mut done = range.start;
    for place in checks {
        out.extend(&bytes[done - range.start..place - range.start]);
        out.extend(&check);
        done = place;
    }
    out.extend(&bytes[done - range.start..]);
    Ok(out)
}

fn body_of_place(memory: u32) -> Vec<u8> {
    let word = |at: i32| wasm_encoder::MemArg { offset: at as u64, align: 2, memory_index: memory };
    let mut function = Function::new([]);
    let mut body = function.instructions();
    body.i32_const(LIST_AT).i32_const(0).i32_store(word(0));
    body.i32_const(LIST_AT).i32_const(PAGE_BYTES as i32).i32_store(word(4));
    body.i32_const(LIST_AT).end();
    function.into_raw_body()
}
