//! A handle of librdkafka with its callbacks.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::Duration;

use super::callback::{self, Told};
use super::question::NOBODY;
use super::rd;
use crate::kafka::connection::Hidden;
use crate::kafka::{Error, Settings};

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Kind {
    Consumer,
    Producer,
}

/// A running instance of librdkafka with its threads. Dropping it waits for their end, some milliseconds as a rule.
pub(in crate::kafka) struct Client {
    handle: NonNull<rd::rd_kafka_t>,
    told: Arc<Told>,
    brokers: String,
    mechanism: Option<&'static str>,
    /// The number of a broker that has answered when another one did not; [`NOBODY`] before that.
    pub(super) answering: AtomicI32,
}

// SAFETY: the handle may be used from many threads at once (module docs); `Told` is Sync by itself.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    pub(in crate::kafka) fn new(kind: Kind, settings: &Settings) -> Result<Client, Error> {
        let told = Arc::new(Told::new(settings));
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
                // It quotes the value, which may be a secret whatever the setting is called.
                let reason = Hidden::only(value).scrub(told.scrub(string(&text)));
                return fail(Error::Setting { name: name.to_owned(), reason });
            }
        }
        // SAFETY: conf is live. The callbacks are given `told` as their opaque: `Client` keeps it until after the handle is
        // destroyed, and librdkafka calls none after that. The types of the callbacks are those that the calls ask for.
        unsafe {
            rd::rd_kafka_conf_set_opaque(conf, Arc::as_ptr(&told).cast_mut().cast());
            rd::rd_kafka_conf_set_log_cb(conf, Some(callback::log));
            rd::rd_kafka_conf_set_error_cb(conf, Some(callback::error));
            rd::rd_kafka_conf_set_ssl_cert_verify_cb(conf, Some(callback::certificate));
            if kind == Kind::Producer {
                rd::rd_kafka_conf_set_dr_msg_cb(conf, Some(callback::delivery_report));
            }
            if settings.tokens.is_some() {
                rd::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(callback::token));
                rd::rd_kafka_conf_enable_sasl_queue(conf, 1);
            }
        }
        let native = match kind {
            Kind::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        // SAFETY: conf is live and belongs to the handle if there is one; the length is that of the buffer.
        match NonNull::new(unsafe { rd::rd_kafka_new(native, conf, text.as_mut_ptr(), text.len()) }) {
            Some(handle) => {
                let (brokers, mechanism) = (settings.brokers().to_owned(), settings.mechanism);
                let answering = AtomicI32::new(NOBODY);
                let client = Client { handle, told, brokers, mechanism, answering };
                client.serve_tokens(settings)?;
                Ok(client)
            }
            None => fail(Error::Setting {
                name: "(a combination of settings)".to_owned(),
                reason: told.scrub(string(&text)),
            }),
        }
    }

    /// Lets a thread of librdkafka's look tokens up, whatever the others do meanwhile.
    fn serve_tokens(&self, settings: &Settings) -> Result<(), Error> {
        if settings.tokens.is_none() {
            return Ok(());
        }
        // SAFETY: the handle is live; an error that is not null is live until it is destroyed, once.
        unsafe {
            let error = rd::rd_kafka_sasl_background_callbacks_enable(self.handle());
            if error.is_null() {
                return Ok(());
            }
            let cause = CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned();
            rd::rd_kafka_error_destroy(error);
            Err(Error::Call { what: "look tokens up".to_owned(), cause, retryable: false })
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

    /// How it says who it is.
    pub(in crate::kafka) fn mechanism(&self) -> Option<&'static str> {
        self.mechanism
    }

    /// A topic of this client. Null only for a name that Kafka does not allow.
    pub(super) fn topic(&self, name: &CStr) -> Option<NonNull<rd::rd_kafka_topic_t>> {
        // SAFETY: the handle is live, the name ends in NUL and is copied; no settings are given.
        NonNull::new(unsafe { rd::rd_kafka_topic_new(self.handle(), name.as_ptr(), std::ptr::null_mut()) })
    }

    /// The id of the cluster, once a broker has told it; waits so long for that.
    pub(in crate::kafka) fn cluster(&self, timeout: Duration) -> Option<String> {
        // SAFETY: the handle is live. What is not null ends in NUL, is ours, and is freed once, after it was copied.
        unsafe {
            let id = rd::rd_kafka_clusterid(self.handle(), millis(timeout));
            if id.is_null() {
                return None;
            }
            let copied = owned(id);
            rd::rd_kafka_mem_free(self.handle(), id.cast());
            Some(copied)
        }
    }

    /// The offset after a partition's last record, as its last fetch told; none before that.
    pub(in crate::kafka) fn end(&self, topic: &CStr, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the handle is live, the name ends in NUL, the two numbers take the answer. Asks nobody.
        let code = unsafe {
            rd::rd_kafka_get_watermark_offsets(self.handle(), topic.as_ptr(), partition, &mut low, &mut high) as i32
        };
        (code == 0 && high >= 0).then_some(high)
    }

    /// Whether another producer of its transactional id has taken over.
    pub(in crate::kafka) fn is_fenced(&self) -> bool {
        let mut text = [0 as c_char; 1];
        // SAFETY: the handle is live, the length is that of the buffer.
        let code = unsafe { rd::rd_kafka_fatal_error(self.handle(), text.as_mut_ptr(), text.len()) };
        super::transaction::is_fenced(code as i32)
    }

    /// The error after which this client does nothing any more.
    pub(in crate::kafka) fn fatal(&self) -> Option<String> {
        let mut text = [0 as c_char; 512];
        // SAFETY: the handle is live, the length is that of the buffer.
        let code = unsafe { rd::rd_kafka_fatal_error(self.handle(), text.as_mut_ptr(), text.len()) };
        (code as i32 != 0).then(|| self.told.scrub(string(&text)))
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

pub(super) fn string(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|c| *c as u8).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// # Safety
/// `text` is null or ends in NUL.
pub(super) unsafe fn owned(text: *const c_char) -> String {
    // SAFETY: checked for null; the rest is the caller's.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}
