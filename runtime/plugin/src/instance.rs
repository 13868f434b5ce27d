//! One instance of a component in a store of its own. Never used again after a call that failed: whoever gets an error
//! drops it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wasmtime::Store;
use wasmtime::component::WasmList;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};

use flow_dataflow::Moment;
use flow_dataflow::function::{CallError, Kind};
use flow_dataflow::report::Level;
use flow_dataflow::state::KeyedState;

use crate::Limits;
use crate::bindings::{
    Answer, Apply, BeforeBarrier, Context, Describe, Description, EndOfInput, Failure, Init, KeyedAnswer, Process,
};
use crate::fault;
use crate::interrupt::{self, Page};
use crate::limits::Growth;
use crate::load::Program;
use crate::log::Lines;

/// What the host keeps beside a guest.
pub struct Host {
    pub growth: Growth,
    /// Why the last call was stopped, if it was.
    pub stopped: Option<interrupt::Reason>,
    pub lines: Arc<Lines>,
    /// The last line that the call at hand logged as an error: a panicking guest's only words.
    pub last_error: Option<String>,
    /// It is not in the log yet. If the call traps, its error tells the line, once for all that is tried after it.
    pub is_held: bool,
    /// Lent for the time of a keyed call.
    pub state: Option<KeyedState>,
    pub limits: Limits,
}

impl Host {
    /// Writes the line that is held back, if there is one.
    pub fn let_go(&mut self) {
        if std::mem::take(&mut self.is_held)
            && let Some(line) = &self.last_error
        {
            self.lines.write(Level::Error, line);
        }
    }
}

/// A running component.
pub struct Instance {
    /// In front of the store, so that it is dropped before it.
    watched: interrupt::Call,
    store: Store<Host>,
    instance: wasmtime::component::Instance,
    program: Arc<Program>,
    /// Looked up by `init`.
    call: Option<Call>,
    /// Bytes of memory after `init`.
    fresh: usize,
}

/// The call of its kind, looked up once.
enum Call {
    Apply(Apply<'static>),
    Process(Process<'static>),
}

impl Instance {
    /// Instantiates; `init` is not called yet. No call goes on once `stop` is set.
    pub fn new(
        program: &Arc<Program>,
        limits: Limits,
        lines: Arc<Lines>,
        stop: Arc<AtomicBool>,
    ) -> Result<Instance, CallError> {
        let host = Host {
            growth: Growth::new(limits.memory, program.exports.pages.len() * interrupt::PAGE_BYTES),
            stopped: None,
            lines,
            last_error: None,
            is_held: false,
            state: None,
            limits,
        };
        let mut store = Store::new(program.pre.engine(), host);
        store.limiter(|host| &mut host.growth);
        refuel(&mut store, program);
        // No code of the guest runs before its pages are known: rewriting has made exports of its start functions.
        let (instance, pages) = match with_pages(program, &mut store) {
            Ok(found) => found,
            Err(e) => return Err(fault::not_made(&e, store.data())),
        };
        // From here on: its pages are none of its answers.
        store.set_hostcall_fuel(limits.output);
        let watched = program.watch.calls(pages, limits.time_per_batch, stop);
        let fresh = store.data().growth.memory;
        let mut new = Instance { watched, store, instance, program: program.clone(), call: None, fresh };
        for start in program.exports.pages.iter().filter_map(|(_, start)| *start) {
            let f: TypedFunc<(), ()> = new.look_up(start)?;
            new.call(|store| f.call(store, ()))?;
        }
        Ok(new)
    }

    /// Checks that the exports have the types of `wit/`; else the name of the interface that has not.
    pub fn check_types(&mut self) -> Result<(), (&'static str, wasmtime::Error)> {
        let program = self.program.clone();
        let e = &program.exports;
        let _: Describe = self.export(e.describe).map_err(|e| ("lifecycle", e))?;
        let _: Init<'_> = self.export(e.init).map_err(|e| ("lifecycle", e))?;
        let _: BeforeBarrier = self.export(e.before_barrier).map_err(|e| ("lifecycle", e))?;
        let _: EndOfInput = self.export(e.end_of_input).map_err(|e| ("lifecycle", e))?;
        self.kinds_call().map(drop).map_err(|error| (e.kind.as_str(), error))
    }

    pub fn describe(&mut self) -> Result<Description, CallError> {
        let f: Describe = self.look_up(self.program.exports.describe)?;
        self.call(|store| f.call(store, ())).map(|(d,)| d)
    }

    pub fn init(&mut self, context: Context<'_>) -> Result<(), CallError> {
        let f: Init<'_> = self.look_up(self.program.exports.init)?;
        self.call = Some(self.kinds_call().map_err(|e| fault::explain(&e, self.store.data()))?);
        flat(self.call(|store| f.call(store, (context,))))?;
        self.fresh = self.memory();
        Ok(())
    }

    pub fn apply(&mut self, batch: &[u8], at: Moment) -> Result<Answer, CallError> {
        let Some(Call::Apply(f)) = self.call else { return Err(no_such("apply")) };
        let f: Apply<'_> = f;
        flat(self.call(|store| f.call(store, (batch, at.into()))))
    }

    pub fn process(
        &mut self,
        rows: &[u8],
        keys: &[u8],
        state: &mut KeyedState,
        at: Moment,
    ) -> Result<KeyedAnswer, CallError> {
        let Some(Call::Process(f)) = self.call else { return Err(no_such("process")) };
        let f: Process<'_> = f;
        let host = self.store.data_mut();
        state.limit(host.limits.output);
        host.state = Some(std::mem::take(state));
        let answer = flat(self.call(|store| f.call(store, (rows, keys, at.into()))));
        if let Some(lent) = self.store.data_mut().state.take() {
            *state = lent;
        }
        match (answer, state.take_failure()) {
            (Err(_), Some(failure)) => Err(CallError::Host(failure)),
            (answer, _) => answer,
        }
    }

    pub fn before_barrier(&mut self, checkpoint: u64) -> Result<Answer, CallError> {
        let f: BeforeBarrier = self.look_up(self.program.exports.before_barrier)?;
        flat(self.call(|store| f.call(store, (checkpoint,))))
    }

    pub fn end_of_input(&mut self) -> Result<Answer, CallError> {
        let f: EndOfInput = self.look_up(self.program.exports.end_of_input)?;
        flat(self.call(|store| f.call(store, ())))
    }

    /// Bytes of its linear memories.
    pub fn memory(&self) -> usize {
        self.store.data().growth.memory
    }

    /// Bytes that its memories have grown by since `init`.
    pub fn grown(&self) -> usize {
        self.memory() - self.fresh
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<T>) -> Result<T, CallError> {
        let host = self.store.data_mut();
        host.last_error = None;
        if self.program.fuel.is_some() {
            refuel(&mut self.store, &self.program);
        } else {
            self.watched.begin();
        }
        let result = call(&mut self.store);
        self.store.data_mut().stopped = self.watched.end();
        let result = result.map_err(|e| fault::explain(&e, self.store.data()));
        let host = self.store.data_mut();
        match &result {
            Err(CallError::Trap { message, .. }) if host.last_error.as_ref().is_some_and(|l| message.contains(l)) => {
                host.is_held = false;
            }
            _ => host.let_go(),
        }
        host.lines.call_ended();
        result
    }

    fn kinds_call(&mut self) -> wasmtime::Result<Call> {
        match self.program.exports.kind {
            Kind::Process => self.export(self.program.exports.call).map(Call::Process),
            Kind::Map | Kind::Filter | Kind::FlatMap => self.export(self.program.exports.call).map(Call::Apply),
        }
    }

    fn look_up<P, R>(&mut self, export: ComponentExportIndex) -> Result<TypedFunc<P, R>, CallError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.export(export).map_err(|e| fault::explain(&e, self.store.data()))
    }

    fn export<P, R>(&mut self, export: ComponentExportIndex) -> wasmtime::Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.instance.get_typed_func(&mut self.store, export)
    }
}

/// Gives a store what one call may use, where calls are limited by fuel.
fn refuel(store: &mut Store<Host>, program: &Program) {
    if let Some(fuel) = program.fuel {
        store.set_fuel(fuel).expect("the program's engine counts fuel");
    }
}

/// An instance and its pages.
fn with_pages(
    program: &Program,
    store: &mut Store<Host>,
) -> wasmtime::Result<(wasmtime::component::Instance, Vec<Page>)> {
    let instance = program.pre.instantiate(&mut *store)?;
    let mut pages = Vec::new();
    for (page, _) in &program.exports.pages {
        let f: TypedFunc<(), (WasmList<u8>,)> = instance.get_typed_func(&mut *store, page)?;
        let (memory,) = f.call(&mut *store, ())?;
        let page = Page::of(memory.as_le_slice(&*store));
        pages.push(page.ok_or_else(|| wasmtime::Error::msg("a module's page is not what rewriting has made"))?);
    }
    Ok((instance, pages))
}

fn flat<T>(result: Result<(Result<T, Failure>,), CallError>) -> Result<T, CallError> {
    result?.0.map_err(CallError::from)
}

fn no_such(call: &str) -> CallError {
    CallError::Host(flow_dataflow::Error::Fatal(format!("{call} was called on an operator of another kind")))
}
