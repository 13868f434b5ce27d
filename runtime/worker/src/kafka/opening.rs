//! Waiting for a broker and asking it: on a thread of its own, so that a slot goes on meanwhile. A broker that is not there is
//! waited for, and told of once; a topic that is not there is an error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flow_dataflow::exchange::Wake;

use super::Error;
use super::raw::{Client, describe, is_authentication, is_denied, is_tls, is_unknown_topic};

/// Tells people about trouble that may pass.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// How long one question to a broker may take.
pub(super) const QUESTION: Duration = Duration::from_secs(5);
/// How long a topic may be unknown: one just made is not known to every broker at once.
const UNKNOWN: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// So long without trouble, and the next one of its kind is told again.
const CALM: Duration = Duration::from_secs(60);

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

/// Trouble of one kind, as long as it lasts.
#[derive(Clone, Copy)]
struct Met {
    first: Instant,
    last: Instant,
}

/// Tells of each kind of trouble once, until it has been calm for a while: an outage is one line, not one a retry.
pub(super) struct Troubles {
    warn: Warn,
    met: Mutex<HashMap<String, Met>>,
}

impl Troubles {
    pub(super) fn new(warn: Warn) -> Arc<Troubles> {
        Arc::new(Troubles { warn, met: Mutex::default() })
    }

    /// Tells of it if that was not done lately. How long it has lasted.
    pub(super) fn tell(&self, kind: &str, text: &str) -> Duration {
        self.tell_at(Instant::now(), kind, text)
    }

    fn tell_at(&self, now: Instant, kind: &str, text: &str) -> Duration {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let before = met.get(kind).filter(|met| now.duration_since(met.last) <= CALM).copied();
        let first = before.map_or(now, |met| met.first);
        met.insert(kind.to_owned(), Met { first, last: now });
        drop(met);
        if before.is_none() {
            (self.warn)(text);
        }
        now.duration_since(first)
    }
}

/// The kind of all trouble with connections.
const CONNECTION: &str = "connection";
/// And of that with logins.
const LOGIN: &str = "login";
/// How long a login may be refused while a job runs: passwords and tokens are renewed, on brokers one by one.
const LOGIN_PATIENCE: Duration = Duration::from_secs(300);

/// A login was refused under a running job: an error when that has lasted too long.
fn bear_login(troubles: &Troubles, error: Error) -> Result<(), Error> {
    let text = format!("{error}; trying again for {} minutes", LOGIN_PATIENCE.as_secs() / 60);
    if troubles.tell(LOGIN, &text) > LOGIN_PATIENCE { Err(error) } else { Ok(()) }
}

/// Why there is no answer.
pub(super) struct Refused {
    pub(super) code: i32,
    /// The topic that is to blame; none for all.
    pub(super) topic: Option<String>,
}

impl From<i32> for Refused {
    fn from(code: i32) -> Refused {
        Refused { code, topic: None }
    }
}

/// Asks until there is an answer.
pub(super) struct Patience<'a> {
    pub(super) awaited: &'a Awaited<'a>,
    pub(super) troubles: &'a Troubles,
    /// What is asked for, in messages.
    pub(super) what: &'a str,
    /// The job starts: a login or a certificate that is not accepted is an error. Later they may be just being renewed.
    pub(super) starting: bool,
    /// Lets librdkafka tell what it has to, where nobody else does.
    pub(super) serve: &'a mut dyn FnMut(),
}

impl Patience<'_> {
    /// Asks until there is an answer, an error that does not pass, or nobody waits any more.
    pub(super) fn ask<T>(
        &mut self,
        client: &Client,
        question: impl Fn(&Client) -> Result<T, Refused>,
    ) -> Result<T, Error> {
        let mut unknown: Option<Instant> = None;
        loop {
            let Refused { code, topic } = match question(client) {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            (self.serve)();
            let brokers = client.brokers().to_owned();
            // What is said of one topic is not explained by the connection.
            let trouble = if topic.is_none() { client.told().take_trouble() } else { None };
            let (code, cause) = trouble.unwrap_or_else(|| (code, describe(code)));
            let topic = topic.unwrap_or_else(|| self.what.to_owned());
            if is_unknown_topic(code) {
                unknown.get_or_insert_with(Instant::now);
            }
            let error = match code {
                _ if is_authentication(code) && !self.starting => {
                    let error = rejected(client, code, cause);
                    bear_login(self.troubles, error.clone())?;
                    error
                }
                _ if is_authentication(code) || is_tls(code) => match rejected(client, code, cause) {
                    error if self.starting => return Err(error),
                    error => error,
                },
                _ if is_denied(code) => return Err(Error::Denied { brokers, topic, cause }),
                _ if is_unknown_topic(code) && unknown.is_some_and(|at| at.elapsed() > UNKNOWN) => {
                    return Err(Error::UnknownTopic { brokers, topic });
                }
                _ => Error::Unreachable { brokers, cause },
            };
            if self.awaited.abandoned.load(SeqCst) {
                return Err(error);
            }
            if !is_unknown_topic(code) {
                self.warn(CONNECTION, &format!("{error}; trying again"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Tells of trouble that may pass.
    pub(super) fn warn(&self, kind: &str, text: &str) {
        _ = self.troubles.tell(kind, text);
    }
}

/// Why no broker talks to us, though one is there.
fn rejected(client: &Client, code: i32, cause: String) -> Error {
    let brokers = client.brokers().to_owned();
    if is_authentication(code) {
        return Error::Authentication { brokers, mechanism: client.mechanism(), cause };
    }
    let certificate = client.told().certificate();
    let cause = certificate.map_or(cause, |certificate| certificate.wrong());
    Error::Tls { brokers, certificate, cause }
}

/// Tells of trouble with the connection, which librdkafka gets over by itself; an error if it does not.
pub(super) fn watch(client: &Client, what: &str, troubles: &Troubles) -> Result<(), Error> {
    let Some((code, cause)) = client.told().take_trouble() else { return Ok(()) };
    let brokers = client.brokers().to_owned();
    if is_authentication(code) {
        return bear_login(troubles, rejected(client, code, cause));
    }
    // Told only after `topic.metadata.propagation.max.ms`: the topic was deleted.
    if is_unknown_topic(code) {
        return Err(Error::UnknownTopic { brokers, topic: what.to_owned() });
    }
    if let Some(cause) = client.fatal() {
        return Err(Error::Call { what: format!("go on with {brokers}"), cause, retryable: true });
    }
    _ = troubles.tell(CONNECTION, &format!("Kafka at {brokers}: {cause}; trying again until it answers"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_lasts_until_it_is_calm() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let troubles = Troubles::new(Arc::new(move |text| sink.lock().expect("no panic").push(text.to_owned())));
        let begun = Instant::now();
        let tell =
            |seconds: u64, kind, text| troubles.tell_at(begun + Duration::from_secs(seconds), kind, text).as_secs();
        assert_eq!([tell(0, "a", "first"), tell(50, "a", "again"), tell(100, "a", "again")], [0, 50, 100]);
        assert_eq!([tell(100, "b", "other"), tell(161, "a", "anew"), tell(170, "a", "again")], [0, 0, 9]);
        assert_eq!(*told.lock().expect("no panic"), ["first", "other", "anew"]);
    }

    #[test]
    fn a_login_may_be_refused_for_a_while() {
        let troubles = Troubles::new(Arc::new(|_| {}));
        let refused = Error::Authentication { brokers: "b:1".into(), mechanism: None, cause: "no".into() };
        assert_eq!(bear_login(&troubles, refused.clone()), Ok(()));
        let past = |met: &mut Met| met.first = met.first.checked_sub(LOGIN_PATIENCE).expect("the machine runs so long");
        troubles.met.lock().expect("no panic").values_mut().for_each(past);
        assert_eq!(bear_login(&troubles, refused.clone()), Err(refused));
    }
}
