//! Why a component can't be used. Each text names the component, the cause and what to do next.

use flow_dataflow::function::CallError;

/// Why a component can't be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no WebAssembly.
    #[error("{name} is not WebAssembly: {found}. `flowctl build` in the operator's project writes a component")]
    NotWasm {
        /// The component's file or name.
        name: String,
        /// What it seems to be.
        found: String,
    },
    /// A core module.
    #[error(
        "{name} is a WebAssembly core module, not a component: a component says what it exports and imports in types. \
         Run `flowctl build` in the operator's project, it makes a component of the module"
    )]
    CoreModule {
        /// The component's file or name.
        name: String,
    },
    /// WebAssembly that does not validate, or needs what is switched off here.
    #[error("{name} is not a valid component: {cause}. Build it again; if that does not help, report it with the file")]
    Invalid {
        /// The component's file or name.
        name: String,
        /// What the compiler said.
        cause: String,
    },
    /// A component of a form that is not served.
    #[error("{name} can't run here: {cause}. Build it as one component, with an SDK or for a world of wit/")]
    Unserved {
        /// The component's file or name.
        name: String,
        /// What it has.
        cause: String,
    },
    /// A component, but not an operator.
    #[error(
        "{name} is a component, but no operator: it exports {exports}. An operator exports flow:operator/lifecycle@0.1.0 and \
         one of flow:operator/{{map,filter,flat-map,process}}@0.1.0: build it with an SDK, or for a world of wit/"
    )]
    NoOperator {
        /// The component's file or name.
        name: String,
        /// What it does export.
        exports: String,
    },
    /// An operator of several kinds.
    #[error("{name} exports several kinds of operator: {kinds}. One component is one operator: split it")]
    SeveralKinds {
        /// The component's file or name.
        name: String,
        /// The kinds.
        kinds: String,
    },
    /// Another version of the interface.
    #[error(
        "{name} was built for {interface}; flow:operator is served in version 0.1.0 here. Build it with the SDK of that \
         version, or update Flow"
    )]
    Version {
        /// The component's file or name.
        name: String,
        /// The interface with its version.
        interface: String,
    },
    /// Imports that nobody grants.
    #[error(
        "{name} imports {imports}, which operators do not get: no files, network, clock or environment. Build Rust for \
         wasm32-unknown-unknown, and other languages without WASI, as sdk/ says"
    )]
    Imports {
        /// The component's file or name.
        name: String,
        /// The interfaces.
        imports: String,
    },
    /// Exports or imports of other types.
    #[error("{name}: {interface} does not have the types of wit/operator-0.1.0: {cause}. Build it from that file")]
    Types {
        /// The component's file or name.
        name: String,
        /// Which interface.
        interface: String,
        /// How they differ.
        cause: String,
    },
    /// `describe` gave something that can't be.
    #[error("{name} describes itself wrongly: {cause}. Correct what its `describe` answers")]
    Description {
        /// The component's file or name.
        name: String,
        /// What is wrong.
        cause: String,
    },
    /// The guest failed before its first batch.
    #[error("{name} failed in {call}: {}", said(cause))]
    Call {
        /// The component's file or name.
        name: String,
        /// `instantiate`, `describe` or `init`.
        call: &'static str,
        /// How.
        cause: CallError,
    },
    /// wasmtime could not be set up on this machine.
    #[error("the WebAssembly engine can't start: {0}")]
    Engine(String),
}

/// The cause with the guest's functions, where there are any.
fn said(cause: &CallError) -> String {
    match cause {
        CallError::Trap { message, backtrace } | CallError::Exceeded { message, backtrace, .. }
            if !backtrace.is_empty() =>
        {
            format!("{message}\n  in {}", backtrace.join("\n  in "))
        }
        cause => cause.to_string(),
    }
}
