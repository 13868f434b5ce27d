//! A handle of librdkafka with its callbacks, and the questions that a client of either kind asks a broker.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Code, code_of, describe, is, is_authentication, is_unknown_topic, rd};
use crate::kafka::{Error, Settings};

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Kind {
    Consumer,
    Producer,
}

/// The first record that was not stored.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct Undelivered {
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) code: i32,
}

/// What librdkafka's callbacks tell, for other threads to read.
#[derive(Default)]
pub(in crate::kafka) struct Told {
    undelivered: AtomicU64,
    first_undelivered: Mutex<Option<Undelivered>>,
    /// Code and text of the worst trouble with the connection that was told lately.
    trouble: Mutex<Option<(i32, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    /// How many records were not stored, and the first of them.
    pub(in crate::kafka) fn undelivered(&self) -> Option<(u64, Undelivered)> {
        match self.undelivered.load(SeqCst) {
            0 => None,
            n => lock(&self.first_undelivered).clone().map(|first| (n, first)),
        }
    }

    /// The trouble with the connection that was told last, which is forgotten.
    pub(in crate::kafka) fn take_trouble(&self) -> Option<(i32, String)> {
        lock(&self.trouble).take()
    }

    fn delivery_failed(&self, failed: Undelivered) {
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

/// A running instance of librdkafka with its threads. Dropping it waits for their end, some milliseconds as a rule.
pub(in crate::kafka) struct Client {
    handle: NonNull<rd::rd_kafka_t>,
    told: Arc<Told>,
    brokers: String,
}

// SAFETY: the handle may be used from many threads at once (module docs); `Told` is Sync by itself.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    pub(in crate::kafka) fn new(kind: Kind, settings: &Settings) -> Result<Client, Error> {
        let told = Arc::new(Told::default());
        let mut text = [0 as c_char; 512];
        // SAFETY: no precondition; never null.
        let conf = unsafe { rd::rd_kafka_conf_new() };
        let fail = |error| {
            // SAFETY: conf was not handed over, and is not used after this.
            unsafe { rd::rd_kafka_conf_destroy(conf) };
            Err(error)
        };
        for (name, value) in settings.iter() {
            let (Ok(c_name), Ok(c_value)) = (CString::new(name), CString::new(value)) else {
                return fail(Error::Setting {
                    name: name.to_owned(),
                    reason: "it has a NUL character in it".to_owned(),
                });
            };
            // SAFETY: conf is live, the strings end in NUL and are copied, the length is that of the buffer.
            let result = unsafe {
                rd::rd_kafka_conf_set(conf, c_name.as_ptr(), c_value.as_ptr(), text.as_mut_ptr(), text.len())
            };
            if result != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                return fail(Error::Setting { name: name.to_owned(), reason: string(&text) });
            }
        }
        // SAFETY: conf is live. The callbacks are given `told` as their opaque: `Client` keeps it until after the handle is
        // destroyed, and librdkafka calls none after that. The types of the callbacks are those that the calls ask for.
        unsafe {
            rd::rd_kafka_conf_set_opaque(conf, Arc::as_ptr(&told).cast_mut().cast());
            rd::rd_kafka_conf_set_log_cb(conf, Some(log));
            rd::rd_kafka_conf_set_error_cb(conf, Some(error));
            if kind == Kind::Producer {
                rd::rd_kafka_conf_set_dr_msg_cb(conf, Some(delivery_report));
            }
        }
        let native = match kind {
            Kind::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        // SAFETY: conf is live and belongs to the handle if there is one; the length is that of the buffer.
        match NonNull::new(unsafe { rd::rd_kafka_new(native, conf, text.as_mut_ptr(), text.len()) }) {
            Some(handle) => Ok(Client { handle, told, brokers: settings.brokers().to_owned() }),
            None => fail(Error::Setting { name: "(a combination of settings)".to_owned(), reason: string(&text) }),
        }
    }

    pub(super) fn handle(&self) -> *mut rd::rd_kafka_t {
        self.handle.as_ptr()
    }

    pub(in crate::kafka) fn told(&self) -> &Arc<Told> {
        &self.told
    }

    pub(in crate::kafka) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A topic of this client. Null only for a name that Kafka does not allow.
    pub(super) fn topic(&self, name: &CStr) -> Option<NonNull<rd::rd_kafka_topic_t>> {
        // SAFETY: the handle is live, the name ends in NUL and is copied; no settings are given.
        NonNull::new(unsafe { rd::rd_kafka_topic_new(self.handle(), name.as_ptr(), std::ptr::null_mut()) })
    }

    /// The number of a topic's partitions, or the broker's code. Waits up to the time-out.
    pub(in crate::kafka) fn partitions(&self, topic: &CStr, timeout: Duration) -> Result<u32, i32> {
        let Some(topic) = self.topic(topic) else {
            return Err(Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION as i32);
        };
        let mut metadata = std::ptr::null();
        // SAFETY: handle and topic are live; `metadata` takes the answer. The topic is destroyed once, after its use.
        let code = unsafe {
            let code = rd::rd_kafka_metadata(self.handle(), 0, topic.as_ptr(), &mut metadata, millis(timeout));
            rd::rd_kafka_topic_destroy(topic.as_ptr());
            code as i32
        };
        if code != 0 {
            return Err(code);
        }
        // SAFETY: on success the answer points to a list of `topic_cnt` topics, live until it is destroyed. `err` is
        // read as the number that it is.
        unsafe {
            let first = ((*metadata).topic_cnt > 0).then(|| (*metadata).topics);
            let answer = first.map(|topic| ((&raw const (*topic).err).cast::<i32>().read(), (*topic).partition_cnt));
            rd::rd_kafka_metadata_destroy(metadata);
            match answer {
                Some((0, partitions)) if partitions > 0 => Ok(partitions as u32),
                Some((0, _)) | None => Err(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32),
                Some((code, _)) => Err(code),
            }
        }
    }

    /// The oldest offset of a partition and the one after its last, as far as this client's isolation level sees. Waits up to
    /// the time-out.
    pub(in crate::kafka) fn ends(&self, topic: &CStr, partition: i32, timeout: Duration) -> Result<(i64, i64), i32> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the handle is live, the name ends in NUL, the two numbers take the answer.
        let code = unsafe {
            let (low, high) = (&mut low, &mut high);
            rd::rd_kafka_query_watermark_offsets(self.handle(), topic.as_ptr(), partition, low, high, millis(timeout))
        };
        if code as i32 == 0 { Ok((low, high)) } else { Err(code as i32) }
    }

    /// The error after which this client does nothing any more.
    pub(in crate::kafka) fn fatal(&self) -> Option<String> {
        let mut text = [0 as c_char; 512];
        // SAFETY: the handle is live, the length is that of the buffer.
        let code = unsafe { rd::rd_kafka_fatal_error(self.handle(), text.as_mut_ptr(), text.len()) };
        (code as i32 != 0).then(|| string(&text))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: destroyed once. What hangs on it (queues, topics, messages) was dropped before, since its owners hold the
        // client as their last field or drop it last. A consumer of assigned partitions has no group to leave.
        unsafe { rd::rd_kafka_destroy_flags(self.handle(), rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE as c_int) };
    }
}

pub(super) fn millis(timeout: Duration) -> c_int {
    timeout.as_millis().try_into().unwrap_or(c_int::MAX)
}

fn string(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|c| *c as u8).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// # Safety
/// `text` is null or ends in NUL.
unsafe fn owned(text: *const c_char) -> String {
    // SAFETY: checked for null; the rest is the caller's.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

/// Runs on any of librdkafka's threads. A panic in an `extern "C"` function ends the process, it does not unwind into C.
unsafe extern "C" fn log(_: *const rd::rd_kafka_t, level: c_int, facility: *const c_char, text: *const c_char) {
    // SAFETY: librdkafka gives strings that end in NUL.
    let (facility, text) = unsafe { (owned(facility), owned(text)) };
    match level {
        0..=4 => tracing::warn!(target: "librdkafka", "{facility}: {text}"),
        5..=6 => tracing::debug!(target: "librdkafka", "{facility}: {text}"),
        _ => tracing::trace!(target: "librdkafka", "{facility}: {text}"),
    }
}

unsafe extern "C" fn error(_: *mut rd::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is the `Told` that `Client::new` set, alive as long as callbacks come; the reason ends in NUL.
    let (told, reason) = unsafe { (&*opaque.cast::<Told>(), owned(reason)) };
    tracing::debug!(target: "librdkafka", "{}: {reason}", describe(code));
    told.trouble(code, reason);
}

unsafe extern "C" fn delivery_report(
    _: *mut rd::rd_kafka_t,
    message: *const rd::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the message is live during the call; the opaque is the `Told` that `Client::new` set.
    let (code, partition, told) = unsafe { (code_of(message), (*message).partition, &*opaque.cast::<Told>()) };
    if code != 0 {
        told.delivery_failed(Undelivered { partition, code });
    }
}
