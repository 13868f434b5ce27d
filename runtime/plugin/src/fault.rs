//! What an error of wasmtime means for the engine: whose fault it was, in words for the author of the component.

use wasmtime::{Error, Trap, WasmBacktrace};

use flow_dataflow::function::{CallError, Limit};
use flow_model::quantity::ByteSize;

use crate::instance::Host;
use crate::interrupt::Reason;
use crate::limits::Exceeded;
use crate::log;

/// Why a call into a guest failed. Names of functions come from its name section.
pub fn explain(error: &Error, host: &Host) -> CallError {
    // The trap of a closed page. One of another kind came first, whoever else wanted to stop the call.
    if let (Some(reason), Some(Trap::MemoryOutOfBounds)) = (host.stopped, error.downcast_ref()) {
        return match reason {
            Reason::TimeIsUp => CallError::TimedOut { limit_ms: host.limits.time_per_batch.as_millis() as u64 },
            Reason::Unwanted => CallError::Stopped,
        };
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(names).unwrap_or_default();
    let message = match (error.downcast_ref::<Trap>(), error.downcast_ref::<Exceeded>()) {
        (Some(Trap::OutOfFuel), _) => {
            return CallError::Exceeded { limit: Limit::Time, message: "the call used up its fuel".into(), backtrace };
        }
        (Some(trap), _) => trapped(*trap, host.last_error.as_deref()),
        (_, Some(exceeded @ Exceeded::Memory { .. })) => {
            return CallError::Exceeded { limit: Limit::Memory, message: exceeded.to_string(), backtrace };
        }
        (_, Some(exceeded @ Exceeded::Table(_))) => exceeded.to_string(),
        // No frame of a guest is on the stack while its answer is read.
        _ if backtrace.is_empty() => return unreadable(error, host.limits.output),
        _ => error.root_cause().to_string(),
    };
    CallError::Trap { message, backtrace }
}

/// Why there is no instance. No answer is read while one is made: what is no limit of the guest the system did not give.
pub fn not_made(error: &Error, host: &Host) -> CallError {
    match explain(error, host) {
        CallError::Answer(cause) => no_room(&cause),
        known => known,
    }
}

fn no_room(cause: &str) -> CallError {
    CallError::Host(flow_dataflow::Error::Retryable(format!(
        "there is no room for one more instance: {cause}; lower `parallelism`, cancel other jobs, or raise vm.max_map_count \
         (sysctl) if memory is left"
    )))
}

fn trapped(trap: Trap, last_error: Option<&str>) -> String {
    let cause = match (trap, last_error) {
        (Trap::UnreachableCodeReached, Some(text)) => return format!("it panicked: {text}"),
        (Trap::UnreachableCodeReached, None) => "it stopped itself (unreachable), without a word in the log".into(),
        (Trap::StackOverflow, _) => "its calls go too deep: the stack is full (endless recursion?)".into(),
        // Rust and C keep a stack of their own in the memory, and it lies at the memory's very start.
        (Trap::MemoryOutOfBounds, _) => format!(
            "it trapped: {}; perhaps its own stack is full (endless recursion, or a large array in a function?)",
            plain(trap)
        ),
        (trap, _) => format!("it trapped: {}", plain(trap)),
    };
    match last_error {
        Some(text) => format!("{cause}; its last error in the log: {text}"),
        None => cause,
    }
}

fn plain(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
}

fn unreadable(error: &Error, limit: usize) -> CallError {
    let cause = error.root_cause().to_string();
    // wasmtime keeps the type of this one to itself.
    if !cause.contains("fuel allocated for hostcalls") {
        return CallError::Answer(cause);
    }
    let message = format!("its answer is larger than {}", ByteSize(limit as u64));
    CallError::Exceeded { limit: Limit::Output, message, backtrace: Vec::new() }
}

/// The guest's functions, innermost first.
fn names(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        // Whoever made the component has chosen the name: it must not begin a line of its own in a log.
        Some(name) => {
            log::cut_word(&format!("{:#}", rustc_demangle::demangle(name))).replace(char::is_control, "\u{fffd}")
        }
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_give_is_no_answer() {
        let CallError::Host(error) = no_room("Cannot allocate memory (os error 12)") else {
            panic!("a guest is blamed")
        };
        assert!(matches!(error, flow_dataflow::Error::Retryable(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("there is no room for one more instance: Cannot allocate memory"), "{text}");
    }
}
