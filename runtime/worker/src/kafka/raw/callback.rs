//! What librdkafka calls, from threads of its own: it tells of trouble, asks for tokens, and shows certificates.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::{owned, string};
use super::{
    Code, Message, code_of, describe, is, is_authentication, is_never, is_too_large, is_unknown_topic, origin, rd,
};
use crate::kafka::Settings;
use crate::kafka::connection::Hidden;
use crate::kafka::error::Certificate;
use crate::kafka::token::Tokens;

/// So many refused records of a transaction are kept: the others are refused again by the next one.
const REFUSED: usize = 10_000;

/// A record that was not stored.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct Undelivered {
    pub(in crate::kafka) topic: String,
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) code: i32,
    /// Where it came from: split and position.
    pub(in crate::kafka) origin: Option<(u32, i64)>,
}

/// A record that a broker found too large. It was alone in its batch, so that nothing else was meant.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct TooLarge {
    pub(in crate::kafka) topic: String,
    pub(in crate::kafka) key: Option<Vec<u8>>,
    pub(in crate::kafka) value: Option<Vec<u8>>,
    pub(in crate::kafka) timestamp: Option<i64>,
    /// A blob as [`flow_frame::headers`] has it.
    pub(in crate::kafka) headers: Vec<u8>,
    pub(in crate::kafka) origin: Option<(u32, i64)>,
}

/// What librdkafka's callbacks tell, for other threads to read.
pub(in crate::kafka) struct Told {
    undelivered: AtomicU64,
    first_undelivered: Mutex<Option<Undelivered>>,
    too_large: Mutex<Vec<TooLarge>>,
    /// Whether records are kept in `refused`, and not in `too_large`.
    transacts: bool,
    refused: Mutex<Vec<Undelivered>>,
    /// Bytes from which on a record is alone in its batch.
    alone: usize,
    /// Code and text of the worst trouble with the connection that was told lately.
    trouble: Mutex<Option<(i32, String)>>,
    /// OpenSSL's reason why a broker's certificate was not accepted lately; 0 for none.
    certificate: AtomicI32,
    /// What must not get into any text.
    hidden: Hidden,
    /// Asked by a callback.
    tokens: Option<Arc<Tokens>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    pub(super) fn new(settings: &Settings) -> Told {
        Told {
            undelivered: AtomicU64::new(0),
            first_undelivered: Mutex::default(),
            too_large: Mutex::default(),
            transacts: settings.transacts(),
            refused: Mutex::default(),
            alone: settings.batch_size(),
            trouble: Mutex::default(),
            certificate: AtomicI32::new(0),
            hidden: settings.hidden.clone(),
            tokens: settings.tokens.clone(),
        }
    }

    /// librdkafka's words without what must not be shown.
    pub(in crate::kafka) fn scrub(&self, text: String) -> String {
        self.hidden.scrub(text)
    }

    /// What was wrong with a broker's certificate lately.
    pub(in crate::kafka) fn certificate(&self) -> Option<Certificate> {
        Certificate::of(self.certificate.load(SeqCst))
    }

    /// How many records were not stored, and the first of them.
    pub(in crate::kafka) fn undelivered(&self) -> Option<(u64, Undelivered)> {
        match self.undelivered.load(SeqCst) {
            0 => None,
            n => lock(&self.first_undelivered).clone().map(|first| (n, first)),
        }
    }

    /// Records that a broker found too large and that nobody has taken yet.
    pub(in crate::kafka) fn take_too_large(&self) -> Vec<TooLarge> {
        std::mem::take(&mut *lock(&self.too_large))
    }

    /// How many [`take_too_large`](Self::take_too_large) would give.
    pub(in crate::kafka) fn too_large(&self) -> usize {
        lock(&self.too_large).len()
    }

    /// Records of a transaction that brokers will never store, each for its own sake or its topic's, and that nobody has taken yet.
    pub(in crate::kafka) fn take_refused(&self) -> Vec<Undelivered> {
        std::mem::take(&mut *lock(&self.refused))
    }

    /// The trouble with the connection that was told last, which is forgotten.
    pub(in crate::kafka) fn take_trouble(&self) -> Option<(i32, String)> {
        lock(&self.trouble).take()
    }

    /// A record was not stored; `refused` says whether it never will be, whatever it is sent with.
    fn delivery_failed(&self, failed: Undelivered, refused: bool) {
        if refused && self.transacts {
            let mut all = lock(&self.refused);
            if all.len() < REFUSED {
                all.push(failed.clone());
            }
        }
        lock(&self.first_undelivered).get_or_insert(failed);
        self.undelivered.fetch_add(1, SeqCst);
    }

    fn trouble(&self, code: i32, reason: String) {
        let mut trouble = lock(&self.trouble);
        let kept = trouble.as_ref().map(|(code, _)| *code);
        // What does not pass is kept, and "all brokers are down" says less than what came before it.
        let worse = kept.is_none_or(|kept| {
            !is_authentication(kept) && !is_unknown_topic(kept) && !is(code, Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        });
        if worse {
            *trouble = Some((code, reason));
        }
    }
}

/// Runs on any of librdkafka's threads. A panic in an `extern "C"` function ends the process, it does not unwind into C.
pub(super) unsafe extern "C" fn log(
    client: *const rd::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    text: *const c_char,
) {
    // SAFETY: librdkafka gives strings that end in NUL.
    let (facility, text) = unsafe { (owned(facility), owned(text)) };
    // SAFETY: a client that is not null has the opaque that `Client::new` set, a `Told` that outlives it.
    let told = unsafe { (!client.is_null()).then(|| rd::rd_kafka_opaque(client).cast::<Told>().as_ref()).flatten() };
    let text = told.map_or_else(String::new, |told| told.scrub(text));
    // What is wrong with connections is told to jobs, once: here it would be a line a retry.
    // An init that has to wait for the transaction before is nothing to tell: lanes tell what lasts.
    let told_elsewhere = ["FAIL", "ERROR", "SSLCERTVRFY", "GETPID"].contains(&facility.as_str());
    match level {
        0..=4 if !told_elsewhere => tracing::warn!(target: "librdkafka", "{facility}: {text}"),
        0..=6 => tracing::debug!(target: "librdkafka", "{facility}: {text}"),
        _ => tracing::trace!(target: "librdkafka", "{facility}: {text}"),
    }
}

pub(super) unsafe extern "C" fn error(_: *mut rd::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is the `Told` that `Client::new` set, alive as long as callbacks come; the reason ends in NUL.
    let (told, reason) = unsafe { (&*opaque.cast::<Told>(), owned(reason)) };
    let reason = told.scrub(reason);
    // By TLS 1.3 a broker says late that it wants a certificate, which librdkafka takes for a broken connection.
    let code = if reason.contains("SSL alert number") { Code::RD_KAFKA_RESP_ERR__SSL as i32 } else { code };
    tracing::debug!(target: "librdkafka", "{}: {reason}", describe(code));
    told.trouble(code, reason);
}

pub(super) unsafe extern "C" fn delivery_report(
    _: *mut rd::rd_kafka_t,
    message: *const rd::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the message is live during the call; the opaque is the `Told` that `Client::new` set.
    let (code, told) = unsafe { (code_of(message), &*opaque.cast::<Told>()) };
    // SAFETY: as above, and used by this thread alone.
    let seen = unsafe { Message::seen(message) };
    let alone = seen.bytes() > told.alone;
    if is_too_large(code) && alone && !told.transacts {
        let mut headers = Vec::new();
        flow_frame::headers::encode(seen.headers(), &mut headers);
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        lock(&told.too_large).push(TooLarge {
            topic: seen.topic().unwrap_or_default(),
            key: owned(seen.key()),
            value: owned(seen.payload()),
            timestamp: seen.timestamp_of_undelivered(),
            headers,
            // SAFETY: as above; read in place.
            origin: unsafe { origin::of((*message)._private) },
        });
    } else if code != 0 {
        // SAFETY: as above. Fields are read in place; the topic of a live message is live, its name ends in NUL.
        let failed = unsafe {
            Undelivered {
                topic: owned(rd::rd_kafka_topic_name((*message).rkt)),
                partition: (*message).partition,
                code,
                origin: origin::of((*message)._private),
            }
        };
        // A batch that is too large says nothing of its records.
        let refused = if is_too_large(code) { alone } else { is_never(code) || is_unknown_topic(code) };
        told.delivery_failed(failed, refused);
    }
}

/// Accepts what OpenSSL accepts, and keeps why it does not.
pub(super) unsafe extern "C" fn certificate(
    _: *mut rd::rd_kafka_t,
    _: *const c_char,
    _: i32,
    error: *mut c_int,
    _: c_int,
    _: *const c_char,
    _: usize,
    _: *mut c_char,
    _: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka gives the address of OpenSSL's verdict; the opaque is the `Told` that `Client::new` set.
    let (error, told) = unsafe { (*error, &*opaque.cast::<Told>()) };
    if error != 0 {
        told.certificate.store(error, SeqCst);
    }
    (error == 0).into()
}

/// Gives the next token, or says why there is none. Runs on librdkafka's background thread, which may wait for a file.
pub(super) unsafe extern "C" fn token(client: *mut rd::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is the `Told` that `Client::new` set.
    let told = unsafe { &*opaque.cast::<Told>() };
    let Some(tokens) = &told.tokens else { return };
    let given = tokens.next().and_then(|token| {
        let text = |text: &str| CString::new(text).map_err(|_| "it has a NUL in it".to_owned());
        let (value, principal) = (text(token.value.expose())?, text(&token.principal)?);
        let mut wrong = [0 as c_char; 512];
        // SAFETY: the client is live during its callback, the strings end in NUL and are copied, there are no extensions,
        // and the length is that of the buffer.
        let code = unsafe {
            rd::rd_kafka_oauthbearer_set_token(
                client,
                value.as_ptr(),
                token.expires,
                principal.as_ptr(),
                std::ptr::null_mut(),
                0,
                wrong.as_mut_ptr(),
                wrong.len(),
            )
        };
        if code as i32 == 0 { Ok(()) } else { Err(told.scrub(string(&wrong))) }
    });
    if let Err(why) = given {
        let why = CString::new(why).unwrap_or_default();
        // SAFETY: as above. It fails for a client without tokens only, which this is not.
        unsafe { rd::rd_kafka_oauthbearer_set_token_failure(client, why.as_ptr()) };
    }
}
