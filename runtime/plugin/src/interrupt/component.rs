//! Rewrites a component: each module in it, and exports by which the host finds their pages and start functions.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSectionId, ComponentTypeSection, ComponentValType, ExportKind, PrimitiveValType,
    RawSection,
};
use wasmparser::types::TypesRef;
use wasmparser::{BinaryReaderError, Instance, Parser, Payload, ValidPayload, Validator};

use super::module::{self, Parts};

/// The component's exports `PAGE0`, `PAGE1` and so on are functions that return the pages as lists of bytes.
pub const PAGE: &str = "flow-page-n";
/// The component's exports `START0` and so on are functions to be called once, in this order, before any other.
pub const START: &str = "flow-start-n";

/// Why a component can't be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no component that could be compiled.
    #[error(transparent)]
    Invalid(#[from] BinaryReaderError),
    /// Modules in components in it, or from outside of it.
    #[error("it has components with code inside of it; only components of one level are served")]
    Nested,
    /// Its own export has a name that is used here.
    #[error("it exports `{0}`, a name that Flow keeps for itself")]
    Reserved(String),
}

/// A module in the component.
struct Known {
    index: u32,
    has_page: bool,
    has_start: bool,
}

#[derive(Default)]
struct Rewriting {
    out: wasm_encoder::Component,
    modules: Vec<Known>,
    core_instances: u32,
    /// The instances of modules with pages: their numbers, and whether they have start functions.
    pages: Vec<(u32, bool)>,
}

/// The component with pages and checks.
pub fn rewrite(component: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut validator = Validator::new();
    let mut to = Rewriting::default();
    // How many components around it the section at hand has, and the module that it is in.
    let (mut depth, mut module) = (0, None::<Parts<'_>>);
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        let valid = validator.payload(&payload)?;
        match (payload, valid, module.take()) {
            (Payload::End(_), ValidPayload::End(types), Some(parts)) => {
                to.module(parts, types.as_ref(), validator.types(0))?;
            }
            (payload, _, Some(mut parts)) => {
                parts.take(payload, component);
                module = Some(parts);
            }
            (Payload::ModuleSection { .. }, ..) if depth > 0 => return Err(Refused::Nested),
            (Payload::ModuleSection { .. }, ..) => module = Some(Parts::default()),
            (Payload::End(_), ..) if depth > 0 => depth -= 1,
            (Payload::End(_), ValidPayload::End(types), _) => return Ok(to.finish(types.as_ref())),
            (Payload::ComponentSection { unchecked_range, .. }, ..) => {
                if depth == 0 {
                    to.copy(ComponentSectionId::Component as u8, component.get(unchecked_range));
                }
                depth += 1;
            }
            (payload, ..) if depth == 0 => to.section(payload, component)?,
            // It may hold no module, and make instances of one that is handed to it.
            (Payload::InstanceSection(instances), ..) => {
                for instance in instances {
                    if let Instance::Instantiate { .. } = instance? {
                        return Err(Refused::Nested);
                    }
                }
            }
            _ => {}
        }
    }
    // The parser ends with an error if the component does not end.
    Ok(to.out.finish())
}

impl Rewriting {
    fn module(&mut self, parts: Parts<'_>, types: TypesRef<'_>, outer: Option<TypesRef<'_>>) -> Result<(), Refused> {
        let new = parts.finish(types)?;
        self.copy(ComponentSectionId::CoreModule as u8, Some(&new.bytes));
        // Validation has counted it by now.
        let index = outer.map_or(0, |types| types.module_count().saturating_sub(1));
        self.modules.push(Known { index, has_page: new.has_page, has_start: new.has_start });
        Ok(())
    }

    fn section(&mut self, payload: Payload<'_>, all: &[u8]) -> Result<(), Refused> {
        match &payload {
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let Some(known) = self.modules.iter().find(|m| m.index == module_index) else {
                            return Err(Refused::Nested);
                        };
                        if known.has_page {
                            self.pages.push((self.core_instances, known.has_start));
                        }
                    }
                    self.core_instances += 1;
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let name = export?.name.name;
                    let lower = name.to_ascii_lowercase();
                    if lower.starts_with(PAGE) || lower.starts_with(START) {
                        return Err(Refused::Reserved(name.to_owned()));
                    }
                }
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            self.copy(id, all.get(range));
        }
        Ok(())
    }

    fn copy(&mut self, id: u8, data: Option<&[u8]>) {
        if let Some(data) = data {
            self.out.section(&RawSection { id, data });
        }
    }

    /// Appends the exports. `types` has the numbers of what there is.
    fn finish(mut self, types: TypesRef<'_>) -> Vec<u8> {
        let (list, place, start) = {
            let first = types.component_type_count();
            (first, first + 1, first + 2)
        };
        let mut new_types = ComponentTypeSection::new();
        new_types.defined_type().list(ComponentValType::Primitive(PrimitiveValType::U8));
        new_types.function().params([] as [(&str, ComponentValType); 0]).result(Some(ComponentValType::Type(list)));
        new_types.function().params([] as [(&str, ComponentValType); 0]).result(None);

        let (mut aliases, mut lifts) = (ComponentAliasSection::new(), CanonicalFunctionSection::new());
        let mut exports = ComponentExportSection::new();
        let (mut functions, mut memories) = (types.function_count(), types.memory_count());
        let mut lifted = types.component_function_count();
        // An export gets a number among the functions too, but only behind all of these.
        for (number, (instance, has_start)) in self.pages.iter().enumerate() {
            let of = |kind, name| Alias::CoreInstanceExport { instance: *instance, kind, name };
            aliases.alias(of(ExportKind::Memory, module::PAGE));
            aliases.alias(of(ExportKind::Func, module::PLACE));
            lifts.lift(functions, place, [CanonicalOption::Memory(memories)]);
            exports.export(format!("{PAGE}{number}").as_str(), ComponentExportKind::Func, lifted, None);
            (functions, memories, lifted) = (functions + 1, memories + 1, lifted + 1);
            if *has_start {
                aliases.alias(of(ExportKind::Func, module::START));
                lifts.lift(functions, start, []);
                exports.export(format!("{START}{number}").as_str(), ComponentExportKind::Func, lifted, None);
                (functions, lifted) = (functions + 1, lifted + 1);
            }
        }
        self.out.section(&new_types).section(&aliases).section(&lifts).section(&exports);
        self.out.finish()
    }
}
