//! The engine: how guests are compiled and interrupted. One per process.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Config, OptLevel};

use crate::cache::Cache;
use crate::instance::Host;
use crate::interrupt::Watch;
use crate::load::{self, Component};
use crate::{Error, Limits, imports};

/// Bytes of native stack that a guest may use; threads that call one need at least twice that.
const GUEST_STACK: usize = 1 << 20;

/// Settings of the engine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where compiled code is kept between runs; none compiles each time. Whoever may write there may run code in this
    /// process, so it belongs to its user alone.
    pub cache_dir: Option<PathBuf>,
    /// For tests: replaces an instance before a call with a chance of one in so many, as if it had grown too large.
    pub replace_every: Option<u64>,
    /// For simulation: a call may use so much fuel, which counts instructions, in place of CPU time. The same call then ends at
    /// the same place on every machine, however slow.
    pub fuel: Option<u64>,
}

/// Compiles components. A clone is another handle to the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub wasm: wasmtime::Engine,
    pub linker: Linker<Host>,
    pub watch: Arc<Watch>,
    pub cache: Option<Cache>,
    pub replace_every: Option<u64>,
    pub fuel: Option<u64>,
}

impl Engine {
    /// Sets wasmtime up and starts the thread that interrupts guests; it ends with the engine's last user.
    pub fn new(options: Options) -> Result<Engine, Error> {
        let failed = |e: wasmtime::Error| Error::Engine(format!("{e:#}"));
        let wasm = wasmtime::Engine::new(config().consume_fuel(options.fuel.is_some())).map_err(failed)?;
        let linker = imports::link(&wasm).map_err(failed)?;
        let watch = Watch::start().map_err(|e| Error::Engine(format!("no thread to watch guests: {e}")))?;
        let cache = options.cache_dir.clone().map(|dir| Cache::new(dir, &wasm));
        let Options { replace_every, fuel, .. } = options;
        Ok(Engine { inner: Arc::new(Inner { wasm, linker, watch: Arc::new(watch), cache, replace_every, fuel }) })
    }

    /// Compiles a component (or takes its compiled code from the cache), checks that it is an operator of a served version,
    /// and asks it to describe itself under `limits`. `name` is what errors call it: its file.
    pub fn load(&self, name: &str, bytes: &[u8], limits: &Limits) -> Result<Component, Error> {
        load::load(self, name, bytes, limits)
    }
}

/// See `docs/adr/0003-wasmtime-settings.md` for figures.
fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(GUEST_STACK)
        // Only frames of native debuggers and unwinders need it; guests' backtraces go by frame pointers.
        .native_unwind_info(false)
        .wasm_memory64(false);
    config
}
