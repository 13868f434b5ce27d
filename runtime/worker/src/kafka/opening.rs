//! Waiting for a broker and asking it for a topic: on a thread of its own, so that a slot goes on meanwhile. A broker that is
//! not there is waited for; a topic that is not there is an error.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_dataflow::exchange::Wake;

use super::raw::{Client, describe, is_authentication, is_denied, is_unknown_topic};
use super::{Error, Share};

/// Tells people about trouble that may pass.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// How long one question to a broker may take.
pub(super) const QUESTION: Duration = Duration::from_secs(5);
/// How long a topic may be unknown: one just made is not known to every broker at once.
const UNKNOWN: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two warnings about the same trouble.
const WARNING: Duration = Duration::from_secs(10);

struct Shared<T> {
    result: Mutex<Option<Result<T, Error>>>,
    /// Nobody waits for the result any more.
    abandoned: AtomicBool,
}

/// A result that a thread is working for. Dropped before that, the thread ends after its question.
pub(super) struct Opening<T>(Arc<Shared<T>>);

/// Tells the thread whether somebody still waits.
pub(super) struct Awaited<'a> {
    abandoned: &'a AtomicBool,
}

impl<T: Send + 'static> Opening<T> {
    /// Starts the thread; `wake` is called when the result is there.
    pub(super) fn start(
        wake: Wake,
        open: impl FnOnce(&Awaited<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Opening<T>, Error> {
        let shared = Arc::new(Shared { result: Mutex::new(None), abandoned: AtomicBool::new(false) });
        let of_thread = shared.clone();
        let work = move || {
            let result = open(&Awaited { abandoned: &of_thread.abandoned });
            *of_thread.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            wake();
        };
        let started = std::thread::Builder::new().name("kafka-open".to_owned()).spawn(work);
        match started {
            Ok(_) => Ok(Opening(shared)),
            Err(error) => {
                let what = "start a thread".to_owned();
                Err(Error::Call { what, cause: error.to_string(), retryable: true })
            }
        }
    }
}

impl<T> Opening<T> {
    /// The result, once.
    pub(super) fn take(&self) -> Option<Result<T, Error>> {
        self.0.result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Drop for Opening<T> {
    fn drop(&mut self) {
        self.0.abandoned.store(true, SeqCst);
    }
}

/// Asks until there is an answer, an error that does not pass, or nobody waits any more.
pub(super) fn ask<C, T>(
    client: &mut C,
    of: impl Fn(&mut C) -> &Client,
    topic: &str,
    (awaited, warn): (&Awaited<'_>, &Warn),
    question: impl Fn(&Client) -> Result<T, i32>,
) -> Result<T, Error> {
    let mut unknown: Option<Instant> = None;
    let mut warned: Option<Instant> = None;
    loop {
        let code = match question(of(client)) {
            Ok(answer) => return Ok(answer),
            Err(code) => code,
        };
        let client = of(client);
        let (brokers, topic) = (client.brokers().to_owned(), topic.to_owned());
        let (code, cause) = match client.told().take_trouble() {
            Some((code, reason)) => (code, reason),
            None => (code, describe(code)),
        };
        if is_unknown_topic(code) {
            unknown.get_or_insert_with(Instant::now);
        }
        let error = match code {
            _ if is_authentication(code) => return Err(Error::Authentication { brokers, cause }),
            _ if is_denied(code) => return Err(Error::Denied { brokers, topic, cause }),
            _ if is_unknown_topic(code) && unknown.is_some_and(|at| at.elapsed() > UNKNOWN) => {
                return Err(Error::UnknownTopic { brokers, topic });
            }
            _ => Error::Unreachable { brokers, cause },
        };
        if awaited.abandoned.load(SeqCst) {
            return Err(error);
        }
        if unknown.is_none() && warned.is_none_or(|at| at.elapsed() > WARNING) {
            warn(&format!("{error}; trying again"));
            warned = Some(Instant::now());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Warns of trouble with the connection, which librdkafka gets over by itself, now and then; an error if it does not.
#[derive(Default)]
pub(super) struct Watch(Option<Instant>);

impl Watch {
    pub(super) fn look(&mut self, client: &Client, topic: &str, warn: &Warn) -> Result<(), Error> {
        let Some((code, cause)) = client.told().take_trouble() else { return Ok(()) };
        let brokers = client.brokers().to_owned();
        if is_authentication(code) {
            return Err(Error::Authentication { brokers, cause });
        }
        // Told only after `topic.metadata.propagation.max.ms`: the topic was deleted.
        if is_unknown_topic(code) {
            return Err(Error::UnknownTopic { brokers, topic: topic.to_owned() });
        }
        if let Some(cause) = client.fatal() {
            return Err(Error::Call { what: format!("go on with {brokers}"), cause, retryable: true });
        }
        if self.0.is_none_or(|at| at.elapsed() > WARNING) {
            warn(&format!("Kafka at {brokers}: {cause}"));
            self.0 = Some(Instant::now());
        }
        Ok(())
    }
}

impl Share {
    /// The partitions of this subtask among so many: number `p` belongs to subtask `p % parallelism`.
    pub(super) fn partitions(self, all: u32) -> impl Iterator<Item = i32> {
        (self.subtask..all).step_by(self.parallelism.max(1) as usize).map(|p| p as i32)
    }
}
