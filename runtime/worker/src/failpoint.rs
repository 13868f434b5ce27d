//! Named places at which a test has this process die, stop, wait, or be told of a failure, so that what follows a crash is tried at
//! each of them. Nothing happens unless [`arm`] was called, and then a place costs a look at a list; none of them lies on a
//! record's way. Must never be armed by anything but the environment of the process: nobody who talks to it can.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// The variable that arms them: `NAME=ACTION`, several with commas between.
pub const VARIABLE: &str = "FLOW_FAILPOINT";
/// At most so long after its place a process dies [later](Action::Later), microseconds.
const LATER: u64 = 6_000;

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $variant,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Point] = &[$(Point::$variant),*];

            /// As the variable has it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$variant => $name,)*
                }
            }
        }
    };
}

points! {
    /// A checkpoint is to be triggered.
    Triggered = "triggered",
    /// What a barrier has frozen is written as a run on the local disk.
    RunSaved = "run-saved",
    /// Runs of state are to be merged into one, which becomes the base of a chain.
    MergeBegins = "merge-begins",
    /// A merge is written and not yet part of a chain.
    Merged = "merged",
    /// A run is to be uploaded.
    StateUpload = "state-upload",
    /// A run is uploaded, and nobody knows yet.
    StateUploaded = "state-uploaded",
    /// A part of a segment is to be uploaded.
    PartUpload = "part-upload",
    /// A part of a segment is uploaded, and nobody knows yet.
    PartUploaded = "part-uploaded",
    /// A manifest is to be written.
    ManifestWrite = "manifest-write",
    /// A manifest is written and HEAD does not name it. A failure: it could not be written.
    ManifestWritten = "manifest-written",
    /// HEAD is to be swapped.
    HeadSwap = "head-swap",
    /// HEAD is swapped, and nobody knows yet. A failure: the answer is lost.
    HeadSwapped = "head-swapped",
    /// A checkpoint counts, and lanes are not yet told.
    Confirmed = "confirmed",
    /// Objects of retired checkpoints are to be deleted.
    Deletion = "deletion",
    /// They are deleted, and nobody knows yet.
    Deleted = "deleted",
    /// A lane has read that it may write, and begins no transaction yet.
    CommitOrder = "commit-order",
    /// The transaction of a lane has begun.
    TransactionBegun = "transaction-begun",
    /// Some records of a transaction were given to the producer, and some were not.
    MidProduce = "mid-produce",
    /// All records of a transaction are stored, the progress too, and its end was not asked for.
    ProgressFlushed = "progress-flushed",
    /// The end of a transaction is about to be asked for; to die later is to die with the request under way.
    EndTransaction = "end-transaction",
    /// A transaction is committed, and the lane does not know yet.
    Committed = "committed",
    /// An attempt is to be deployed.
    Deploy = "deploy",
    /// The manifest that an attempt goes on from is read.
    ManifestRead = "manifest-read",
    /// An object of what a life begins with is to be copied.
    Adopting = "adopting",
    /// What a life begins with is copied and its manifest written, and HEAD does not name it.
    Adopted = "adopted",
    /// A piece of state is to be downloaded.
    StateFetch = "state-fetch",
    /// Keyed state is restored, and nothing runs with it yet.
    StateRestored = "state-restored",
    /// A lane's producer has called init.
    LaneInitialised = "lane-initialised",
    /// A lane has read how far it came.
    ProgressRead = "progress-read",
    /// The record that an attempt owns a lane is to be written.
    Claim = "claim",
    /// That record is committed, and the lane does not know yet.
    Claimed = "claimed",
    /// A lane is to write what the checkpoint that the job goes on from has for it. A failure leaves it out, as a broker drops what
    /// a transaction holds that a crash left open: for trying whether the tests find that.
    Replay = "replay",
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process dies at once, the nth time: `kill`, `kill:2`.
    Kill(u32),
    /// The nth time it goes on and dies within milliseconds: `later`, `later:2`.
    Later(u32),
    /// The process stops the nth time, until SIGCONT: `stop`, `stop:2`.
    Stop(u32),
    /// It is told of a failure the nth time: `fail`, `fail:2`.
    Fail(u32),
    /// It is told of one each time: `fail:always`.
    FailAlways,
    /// The thread waits for so many milliseconds each time: `delay:50`. Not where others wait for the thread too.
    Delay(u64),
}

impl FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> Result<Action, ()> {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
        let nth = || argument.map_or(Ok(1), str::parse).map_err(drop);
        Ok(match name {
            "kill" => Action::Kill(nth()?),
            "later" => Action::Later(nth()?),
            "stop" => Action::Stop(nth()?),
            "fail" if argument == Some("always") => Action::FailAlways,
            "fail" => Action::Fail(nth()?),
            "delay" => Action::Delay(argument.and_then(|ms| ms.parse().ok()).ok_or(())?),
            _ => return Err(()),
        })
    }
}

/// Why a process is not armed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such place.
    #[error("{VARIABLE}: there is no place {0:?}; there are {known}", known = Known)]
    Point(String),
    /// No such action.
    #[error(
        "{VARIABLE}: {0:?} is no action; there are kill, later, stop, fail, each with `:NTH`, fail:always, delay:MS"
    )]
    Action(String),
}

struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        f.write_str(&names.join(", "))
    }
}

/// A place where something is to happen.
#[derive(Debug)]
struct Armed {
    point: Point,
    action: Action,
    /// How often it was reached.
    reached: AtomicU32,
}

impl Armed {
    /// Whether this is the nth time.
    fn is_now(&self, nth: u32) -> bool {
        self.reached.fetch_add(1, SeqCst) + 1 == nth
    }
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

fn parse(text: &str) -> Result<Vec<Armed>, Error> {
    let one = |part: &str| {
        let (name, action) = part.split_once('=').unwrap_or((part, "kill"));
        let point = Point::ALL.iter().find(|point| point.name() == name);
        let point = *point.ok_or_else(|| Error::Point(name.to_owned()))?;
        let action = action.parse().map_err(|()| Error::Action(action.to_owned()))?;
        Ok(Armed { point, action, reached: AtomicU32::new(0) })
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(one).collect()
}

/// Arms what [`VARIABLE`] says, if it is set, and says so in the log. Only the first call counts.
///
/// # Errors
/// It says something else.
pub fn arm() -> Result<(), Error> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let text = text.to_string_lossy();
    let armed = parse(&text)?;
    tracing::error!("{VARIABLE}={text}: this process harms itself on purpose; for tests only");
    _ = ARMED.set(armed);
    Ok(())
}

fn at(point: Point) -> impl Iterator<Item = &'static Armed> {
    ARMED.get().into_iter().flatten().filter(move |armed| armed.point == point)
}

/// Whether something is to happen there.
pub(crate) fn is_armed(point: Point) -> bool {
    at(point).next().is_some()
}

/// The place is reached. Returns, if at all, when what was to happen there has happened.
pub fn reach(point: Point) {
    for armed in at(point) {
        match armed.action {
            Action::Kill(nth) if armed.is_now(nth) => signal(libc::SIGKILL),
            Action::Stop(nth) if armed.is_now(nth) => signal(libc::SIGSTOP),
            Action::Later(nth) if armed.is_now(nth) => {
                _ = std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_micros(fastrand::u64(0..LATER)));
                    signal(libc::SIGKILL);
                });
            }
            Action::Delay(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Action::Kill(_) | Action::Stop(_) | Action::Later(_) | Action::Fail(_) | Action::FailAlways => {}
        }
    }
}

/// The place is reached; true if what it stands for is to fail.
pub fn fails(point: Point) -> bool {
    reach(point);
    at(point).any(|armed| match armed.action {
        Action::Fail(nth) => armed.is_now(nth),
        Action::FailAlways => true,
        _ => false,
    })
}

/// Sends this process a signal that it can't catch.
fn signal(signal: libc::c_int) {
    // SAFETY: both take and give plain numbers and touch no memory of this process.
    unsafe {
        libc::kill(libc::getpid(), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(Point, Action)>, String> {
        let armed = parse(text).map_err(|error| error.to_string())?;
        Ok(armed.into_iter().map(|armed| (armed.point, armed.action)).collect())
    }

    #[test]
    fn the_variable_names_places_and_what_happens_there() {
        assert_eq!(parsed(""), Ok(Vec::new()));
        assert_eq!(parsed("claim"), Ok(vec![(Point::Claim, Action::Kill(1))]));
        let several = "head-swapped=fail:2, confirmed=kill:3,run-saved=delay:20,commit-order=stop,replay=fail:always";
        let wanted = vec![
            (Point::HeadSwapped, Action::Fail(2)),
            (Point::Confirmed, Action::Kill(3)),
            (Point::RunSaved, Action::Delay(20)),
            (Point::CommitOrder, Action::Stop(1)),
            (Point::Replay, Action::FailAlways),
        ];
        assert_eq!(parsed(several), Ok(wanted));
        assert!(
            parsed("here=kill").is_err_and(|error| error.contains("there is no place \"here\"; there are triggered, "))
        );
        for wrong in ["claim=die", "claim=kill:x", "claim=delay", "claim="] {
            assert!(parsed(wrong).is_err_and(|error| error.contains("is no action")), "{wrong}");
        }
    }

    #[test]
    fn the_nth_time_counts() {
        let [armed] = &parse("claim=fail:2").expect("it is one")[..] else { panic!("one") };
        assert_eq!((0..4).map(|_| armed.is_now(2)).collect::<Vec<_>>(), [false, true, false, false]);
    }
}
