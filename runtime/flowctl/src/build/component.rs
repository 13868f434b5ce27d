//! Core module → component. What is a component already stays as it is.

use wit_component::ComponentEncoder;

use crate::exit::Failure;

const MAGIC: &[u8] = b"\0asm";
/// Version 1, layer 0: a core module.
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// Layer 1: a component, whatever its version.
const COMPONENT_LAYER: [u8; 2] = [1, 0];

/// The component in `bytes`: wrapped and validated if they are a core module, else as they are. `name` is for errors.
pub fn componentize(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    match bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<4>()) {
        Some(version) if *version == MODULE => wrap(name, &bytes),
        Some(version) if version[2..] == COMPONENT_LAYER => Ok(bytes),
        Some(_) => Err(Failure::invalid(format!("{name} is Wasm of an unknown version"))),
        None => Err(Failure::invalid(format!("{name} is not Wasm"))
            .hint("give a module or component in the binary format (text: wasm-tools parse)")),
    }
}

fn wrap(name: &str, module: &[u8]) -> Result<Vec<u8>, Failure> {
    ComponentEncoder::default().module(module).and_then(|encoder| encoder.validate(true).encode()).map_err(|error| {
        let text = format!("{error:#}");
        let failure = Failure::invalid(format!("{name} can't become a component: {text}"));
        if text.contains("wasi_snapshot_preview1") {
            failure.hint("compile it for wasm32-unknown-unknown: an operator has no system interface")
        } else {
            failure.hint("an operator exports one world of flow:operator: with flow-sdk end the crate by `flow_sdk::export!(KIND Type);`")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_module() {
        let check = |bytes: &[u8], expect: &str| {
            assert_eq!(componentize("x.wasm", bytes.to_vec()).expect_err("no module").message, expect);
        };
        check(b"", "x.wasm is not Wasm");
        check(b"\0as", "x.wasm is not Wasm");
        check(b"(module)", "x.wasm is not Wasm");
        check(b"\0asm\x02\0\0\0", "x.wasm is Wasm of an unknown version");
    }

    #[test]
    fn wraps_a_module_and_keeps_a_component() {
        let component = componentize("x.wasm", b"\0asm\x01\0\0\0".to_vec()).expect("an empty module");
        assert_eq!(componentize("x.wasm", component.clone()).expect("a component"), component);
    }

    #[test]
    fn refuses_a_broken_module() {
        let failure = componentize("x.wasm", b"\0asm\x01\0\0\0\xff".to_vec()).expect_err("a broken section");
        assert!(failure.message.starts_with("x.wasm can't become a component: "), "{}", failure.message);
    }
}
