//! Giving records to librdkafka, many a call. It copies them (`RD_KAFKA_MSG_F_COPY`): to keep the rows instead costs a
//! delivery report a record, which is dearer than the copy.

use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Kind, millis};
use super::{Code, code_of, describe, is, is_denied, is_too_large, is_unknown_topic, origin, rd};
use crate::kafka::{Error, Settings};

/// How long the thread that takes delivery reports sleeps when there are none; they wake it.
const REPORTS: Duration = Duration::from_secs(1);

/// Records that one call takes.
const CALL: usize = 1024;

/// A record to write.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kafka) struct Record<'a> {
    pub(in crate::kafka) key: Option<&'a [u8]>,
    pub(in crate::kafka) value: Option<&'a [u8]>,
    /// Milliseconds since the Unix epoch; none for the time of the call.
    pub(in crate::kafka) timestamp: Option<i64>,
    /// A blob as [`flow_frame::headers`] has it; empty for none.
    pub(in crate::kafka) headers: &'a [u8],
    /// Where the record came from: split and position.
    pub(in crate::kafka) origin: Option<(u32, i64)>,
}

/// Why librdkafka never takes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Unfit {
    /// It is larger than its settings allow.
    Size,
    /// Its headers are none.
    Headers,
}

impl Record<'_> {
    pub(in crate::kafka) fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers.len()
    }
}

/// A topic that a producer writes to.
struct Topic {
    handle: NonNull<rd::rd_kafka_topic_t>,
    name: String,
}

/// A producer to some topics, with a thread that takes the reports of what was not delivered.
pub(in crate::kafka) struct Producer {
    /// Room for the arguments of one call; holds nothing between calls.
    call: Vec<rd::rd_kafka_message_t>,
    /// By the number that [`add`](Self::add) gave.
    topics: Vec<Topic>,
    reports: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    client: Arc<Client>,
}

// SAFETY: topics may be used from any thread; what `call` points to is used only inside of a call.
unsafe impl Send for Producer {}

impl Producer {
    pub(in crate::kafka) fn new(settings: &Settings) -> Result<Producer, Error> {
        let client = Arc::new(Client::new(Kind::Producer, settings)?);
        let failed = |what: String, cause: String| Error::Call { what, cause, retryable: false };
        let stop = Arc::new(AtomicBool::new(false));
        let work = {
            let (client, stop) = (client.clone(), stop.clone());
            move || {
                while !stop.load(SeqCst) {
                    // SAFETY: the handle is live. The callbacks that this calls are those of `Client::new`.
                    unsafe { rd::rd_kafka_poll(client.handle(), millis(REPORTS)) };
                }
            }
        };
        let mut producer = Producer { call: Vec::with_capacity(CALL), topics: Vec::new(), reports: None, stop, client };
        let thread = std::thread::Builder::new().name("kafka-reports".to_owned()).spawn(work);
        producer.reports = Some(thread.map_err(|error| failed("start a thread".to_owned(), error.to_string()))?);
        Ok(producer)
    }

    /// Its client, which another thread may ask questions.
    pub(in crate::kafka) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The name of the topic of that number.
    pub(in crate::kafka) fn name(&self, topic: usize) -> &str {
        &self.topics[topic].name
    }

    /// The number of a topic that is written to from now on.
    pub(in crate::kafka) fn add(&mut self, topic: &CStr) -> Result<usize, Error> {
        let name = topic.to_string_lossy().into_owned();
        let Some(handle) = self.client.topic(topic) else {
            let cause = "that is no name of a topic".to_owned();
            return Err(Error::Call { what: format!("write to {name:?}"), cause, retryable: false });
        };
        self.topics.push(Topic { handle, name });
        Ok(self.topics.len() - 1)
    }

    /// Gives `n` records, `record(0)` and on, for one partition of a topic, in their order. Says how many are done: less than `n` when
    /// librdkafka's queue is full. Those of them that it never takes are told by `unfit`. Never waits. After an error some of the
    /// records may have been taken.
    pub(in crate::kafka) fn produce<'a>(
        &mut self,
        (topic, partition): (usize, i32),
        n: usize,
        record: impl Fn(usize) -> Record<'a>,
        mut unfit: impl FnMut(usize, Unfit),
    ) -> Result<usize, Error> {
        let mut done = 0;
        while done < n {
            let plain = |r: &Record<'_>| r.timestamp.is_none() && r.headers.is_empty();
            self.call.clear();
            while done + self.call.len() < n && self.call.len() < CALL {
                let next = record(done + self.call.len());
                if !plain(&next) {
                    break;
                }
                self.call.push(argument(next));
            }
            if self.call.is_empty() {
                if !self.produce_one(topic, partition, record(done), |why| unfit(done, why))? {
                    break;
                }
                done += 1;
            } else {
                let first = done;
                let taken = self.produce_call(topic, partition, |index| unfit(first + index, Unfit::Size))?;
                let all = self.call.len();
                done += taken;
                if taken < all {
                    break;
                }
            }
        }
        Ok(done)
    }

    /// Gives what `call` has: records that need neither headers nor a timestamp of their own. Those that are done and too large
    /// are told.
    fn produce_call(&mut self, topic: usize, partition: i32, mut too_large: impl FnMut(usize)) -> Result<usize, Error> {
        let flags = rd::RD_KAFKA_MSG_F_COPY;
        // SAFETY: the topic is live; the array has as many entries as it says. Each points to bytes of a record that the
        // caller of `produce` still holds, and they are copied, not kept.
        let taken = unsafe {
            rd::rd_kafka_produce_batch(
                self.topics[topic].handle.as_ptr(),
                partition,
                flags,
                self.call.as_mut_ptr(),
                self.call.len() as i32,
            )
        };
        if taken as usize == self.call.len() {
            return Ok(self.call.len());
        }
        // Once the queue is full nothing more of a call is taken. Another error concerns one record.
        for index in 0..self.call.len() {
            // SAFETY: the index is below the length, and the messages are ours. Their codes may be a broker's, which it gave
            // for the topic.
            let (code, bytes) = unsafe {
                let message = self.call.as_ptr().add(index);
                (code_of(message), (*message).len + (*message).key_len)
            };
            if is(code, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                let never = index == 0 && self.never_takes(bytes);
                if never {
                    too_large(0);
                }
                return Ok(index + usize::from(never));
            }
            if is_too_large(code) {
                too_large(index);
            } else if code != 0 {
                return Err(self.refused(topic, code));
            }
        }
        Ok(self.call.len())
    }

    /// Gives one record of any kind. False when the queue is full.
    fn produce_one(
        &mut self,
        topic: usize,
        partition: i32,
        record: Record<'_>,
        mut unfit: impl FnMut(Unfit),
    ) -> Result<bool, Error> {
        use rd::rd_kafka_vtype_t::*;
        let headers = match Headers::new(record.headers) {
            Ok(headers) => headers,
            Err(NotHeaders) => {
                unfit(Unfit::Headers);
                return Ok(true);
            }
        };
        let (key, value) = (memory(record.key), memory(record.value));
        // librdkafka takes zero for "now". A record stamped with the epoch itself moves by a millisecond instead of decades.
        let timestamp = record.timestamp.map_or(0, |t| if t == 0 { 1 } else { t });
        let argument = |vtype, u| rd::rd_kafka_vu_t { vtype, u };
        let arguments = [
            argument(RD_KAFKA_VTYPE_RKT, rd::rd_kafka_vu_s__bindgen_ty_1 { rkt: self.topics[topic].handle.as_ptr() }),
            argument(RD_KAFKA_VTYPE_PARTITION, rd::rd_kafka_vu_s__bindgen_ty_1 { i32_: partition }),
            argument(RD_KAFKA_VTYPE_MSGFLAGS, rd::rd_kafka_vu_s__bindgen_ty_1 { i: rd::RD_KAFKA_MSG_F_COPY }),
            argument(RD_KAFKA_VTYPE_KEY, rd::rd_kafka_vu_s__bindgen_ty_1 { mem: key }),
            argument(RD_KAFKA_VTYPE_VALUE, rd::rd_kafka_vu_s__bindgen_ty_1 { mem: value }),
            argument(RD_KAFKA_VTYPE_OPAQUE, rd::rd_kafka_vu_s__bindgen_ty_1 { ptr: origin::pointer(record.origin) }),
            argument(RD_KAFKA_VTYPE_TIMESTAMP, rd::rd_kafka_vu_s__bindgen_ty_1 { i64_: timestamp }),
            argument(RD_KAFKA_VTYPE_HEADERS, rd::rd_kafka_vu_s__bindgen_ty_1 { headers: headers.pointer() }),
        ];
        let used = arguments.len() - usize::from(headers.0.is_none());
        // SAFETY: handle and topic are live; each argument has the variant that its type names, and `used` of them are read.
        // Key and value are copied before the call returns. The headers are librdkafka's if it returns no error.
        let error = unsafe { rd::rd_kafka_produceva(self.client.handle(), arguments.as_ptr(), used) };
        if error.is_null() {
            headers.given();
            return Ok(true);
        }
        // SAFETY: an error that is not null is live until it is destroyed, once. The code of a refusal is librdkafka's own.
        let code = unsafe {
            let code = rd::rd_kafka_error_code(error) as i32;
            rd::rd_kafka_error_destroy(error);
            code
        };
        let is_full = is(code, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL);
        if is_too_large(code) || (is_full && self.never_takes(record.bytes())) {
            unfit(Unfit::Size);
            return Ok(true);
        }
        if is_full { Ok(false) } else { Err(self.refused(topic, code)) }
    }

    /// The queue is full for a record of so many bytes: if it is empty, that will never change.
    fn never_takes(&self, bytes: usize) -> bool {
        self.in_flight() == 0 && bytes > 0
    }

    fn refused(&self, topic: usize, code: i32) -> Error {
        let (brokers, topic) = (self.client.brokers().to_owned(), self.topics[topic].name.clone());
        match code {
            _ if is_unknown_topic(code) => Error::UnknownTopic { brokers, topic },
            _ if is_denied(code) => Error::Denied { brokers, topic, cause: describe(code) },
            _ => {
                let cause = self.client.fatal().unwrap_or_else(|| describe(code));
                Error::Call { what: format!("write to topic {topic:?}"), cause, retryable: true }
            }
        }
    }

    /// Records that were taken and are neither stored nor reported as failed.
    pub(in crate::kafka) fn in_flight(&self) -> usize {
        // SAFETY: the handle is live. A message is counted until after its report's callback.
        usize::try_from(unsafe { rd::rd_kafka_outq_len(self.client.handle()) }).unwrap_or(0)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // SAFETY: the handle is live; the queue is ours to give back. Waking the thread saves up to a second.
        unsafe {
            let queue = rd::rd_kafka_queue_get_main(self.client.handle());
            rd::rd_kafka_queue_yield(queue);
            rd::rd_kafka_queue_destroy(queue);
        }
        if let Some(reports) = self.reports.take() {
            // It calls nothing that panics.
            let _ = reports.join();
        }
        for topic in &self.topics {
            // SAFETY: each is destroyed once, before the client, which we own too.
            unsafe { rd::rd_kafka_topic_destroy(topic.handle.as_ptr()) };
        }
    }
}

fn memory(bytes: Option<&[u8]>) -> rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    let start = bytes.map_or(std::ptr::null_mut(), |b| b.as_ptr().cast_mut().cast::<c_void>());
    rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: start, size: bytes.map_or(0, <[u8]>::len) }
}

fn argument(record: Record<'_>) -> rd::rd_kafka_message_t {
    let (key, value) = (memory(record.key), memory(record.value));
    rd::rd_kafka_message_t {
        err: Code::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: std::ptr::null_mut(),
        partition: 0,
        payload: value.ptr,
        len: value.size,
        key: key.ptr,
        key_len: key.size,
        offset: 0,
        _private: origin::pointer(record.origin),
    }
}

/// Headers that librdkafka has not taken yet; none for a record without.
struct Headers(Option<NonNull<rd::rd_kafka_headers_t>>);

struct NotHeaders;

impl Headers {
    fn new(blob: &[u8]) -> Result<Headers, NotHeaders> {
        if blob.is_empty() {
            return Ok(Headers(None));
        }
        let mut decoded = flow_frame::headers::decode(blob);
        // SAFETY: no precondition; never null.
        let list = Headers(NonNull::new(unsafe { rd::rd_kafka_headers_new(8) }));
        for (name, value) in decoded.by_ref() {
            let (name, value) = (CString::new(name).map_err(|_| NotHeaders)?, memory(value));
            // SAFETY: the list is live; name and value are copied, with the lengths given.
            unsafe {
                let length = name.as_bytes().len() as isize;
                rd::rd_kafka_header_add(list.pointer(), name.as_ptr(), length, value.ptr, value.size as isize);
            }
        }
        if decoded.broken() { Err(NotHeaders) } else { Ok(list) }
    }

    fn pointer(&self) -> *mut rd::rd_kafka_headers_t {
        self.0.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    /// librdkafka owns them now.
    fn given(mut self) {
        self.0 = None;
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if let Some(headers) = self.0 {
            // SAFETY: still ours (`given` clears it), destroyed once.
            unsafe { rd::rd_kafka_headers_destroy(headers.as_ptr()) };
        }
    }
}
