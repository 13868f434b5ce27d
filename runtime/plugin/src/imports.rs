//! What guests may call: `log` and `state`. Nothing else is ever linked.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList, WasmStr};

use flow_dataflow::report::Level;
use flow_dataflow::state::KeyedState;

use crate::bindings::{LogLevel, Page};
use crate::instance::Host;
use crate::log;

/// The interfaces that there are to import, `types` included, which has no functions.
pub const SERVED: [&str; 3] = ["log", "state", "types"];

/// State outside of `process`; the call traps.
#[derive(Debug, thiserror::Error)]
#[error("state is there in `process` only")]
struct NoState;

type Caller<'a> = StoreContextMut<'a, Host>;

/// A linker with all of it.
pub fn link(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let mut log = linker.instance("flow:operator/log@0.1.0")?;
    log.func_wrap("log", write_line)?;
    let mut state = linker.instance("flow:operator/state@0.1.0")?;
    state.func_wrap("get-many", |mut cx: Caller<'_>, (state, entries): (u32, WasmList<u8>)| {
        let values = with_state(&mut cx, &entries, |s, entries| Ok(s.get_many(state, entries)?))?;
        Ok((values,))
    })?;
    state.func_wrap("put-many", |mut cx: Caller<'_>, (state, entries): (u32, WasmList<u8>)| {
        with_state(&mut cx, &entries, |s, entries| Ok(s.put_many(state, entries)?))
    })?;
    state.func_wrap("append-many", |mut cx: Caller<'_>, (state, entries): (u32, WasmList<u8>)| {
        with_state(&mut cx, &entries, |s, entries| Ok(s.append_many(state, entries)?))
    })?;
    state.func_wrap("clear-many", |mut cx: Caller<'_>, (state, keys): (u32, WasmList<u8>)| {
        with_state(&mut cx, &keys, |s, keys| Ok(s.clear_many(state, keys)?))
    })?;
    state.func_wrap("scan", |mut cx: Caller<'_>, scan: (u32, u32, Option<WasmList<u8>>, u32)| {
        let (state, key_row, after, limit) = scan;
        let mut lent = cx.data_mut().state.take().ok_or(NoState)?;
        let page = lent.scan(state, key_row, after.as_ref().map(|a| a.as_le_slice(&cx)), limit);
        cx.data_mut().state = Some(lent);
        let (entries, more) = page?;
        Ok((Page { entries, more },))
    })?;
    Ok(linker)
}

fn write_line(mut cx: Caller<'_>, (level, message): (LogLevel, WasmStr)) -> wasmtime::Result<()> {
    let level = Level::from(level);
    let passes = cx.data().lines.passes();
    if passes || level == Level::Error {
        let line = log::cut(&message.to_str(&cx)?);
        let host = cx.data_mut();
        host.let_go();
        match level {
            Level::Error => (host.last_error, host.is_held) = (Some(line), passes),
            _ => host.lines.write(level, &line),
        }
    }
    Ok(())
}

/// Calls `f` with the state of the keyed call at hand and a frame that lies in the guest's memory.
fn with_state<T>(
    cx: &mut Caller<'_>,
    frame: &WasmList<u8>,
    f: impl FnOnce(&mut KeyedState, &[u8]) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    let mut lent = cx.data_mut().state.take().ok_or(NoState)?;
    let result = f(&mut lent, frame.as_le_slice(&*cx));
    cx.data_mut().state = Some(lent);
    result
}
