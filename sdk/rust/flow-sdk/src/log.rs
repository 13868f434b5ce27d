//! Lines for the job's log. The host limits their rate, so a line a record is lost rather than slow.
//!
//! ```
//! use flow_sdk::log;
//!
//! let rate = 1.5;
//! log::info!("the rate is {rate}");
//! log::warn!("and nothing more");
//! ```

use std::fmt;

use crate::host;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author while writing.
    Trace,
    /// For finding faults.
    Debug,
    /// What one wants to know of a healthy job.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a line; the macros of this module are shorter.
#[cold]
pub fn line(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(message) => host::log(level, message),
        None => host::log(level, &message.to_string()),
    }
}

macro_rules! levels {
    ($dollar:tt $($name:ident $hidden:ident $level:ident),*) => {$(
        #[doc = concat!("Logs a line at level ", stringify!($name), ", formatted as by `format!`.")]
        #[macro_export]
        #[doc(hidden)]
        macro_rules! $hidden {
            ($dollar($dollar message:tt)*) => {
                $crate::log::line($crate::log::Level::$level, ::std::format_args!($dollar($dollar message)*))
            };
        }
        #[doc(inline)]
        pub use $hidden as $name;
    )*};
}
levels!($ trace __log_trace Trace, debug __log_debug Debug, info __log_info Info, warn __log_warn Warn, error __log_error Error);
