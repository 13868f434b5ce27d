//! Taking records from librdkafka's queue, many a call and without a copy.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use flow_dataflow::exchange::Wake;

use super::client::{Client, Kind, millis, owned};
use super::list::PartitionList;
use super::{Code, code_of, is, rd};
use crate::kafka::{Error, Settings};

/// A consumer of assigned partitions. Its queue is bounded by `queued.max.messages.kbytes`: who takes nothing stops it.
pub(in crate::kafka) struct Consumer {
    /// What was taken from the queue; `taken[next..]` is not yet handed out, and each of those is a live message.
    taken: Vec<*mut rd::rd_kafka_message_t>,
    next: usize,
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// What the queue's callback points to.
    _wake: Box<Wake>,
    client: Arc<Client>,
}

// SAFETY: the messages belong to this consumer alone, and librdkafka lets any thread use and destroy them and the queue.
unsafe impl Send for Consumer {}

/// What the queue had.
pub(in crate::kafka) enum Taken<'a> {
    /// A record.
    Message(Message<'a>),
    /// A partition has nothing more for now: everything before the offset was handed out, or is nothing that a reader sees.
    End { of: Of, topic: Option<String>, offset: i64 },
    /// A partition can't be read. librdkafka goes on if it can.
    Failed { of: Of, topic: Option<String>, offset: i64, code: i32, cause: String },
}

/// A partition, as a message names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct Of {
    /// The address of the topic in librdkafka, which stays as long as it is read; 0 for none.
    topic: usize,
    pub(in crate::kafka) partition: i32,
}

/// A record in librdkafka's memory, given back when dropped.
pub(in crate::kafka) struct Message<'a> {
    message: NonNull<rd::rd_kafka_message_t>,
    /// A message must be destroyed before its client.
    of: PhantomData<&'a mut Consumer>,
}

impl Consumer {
    /// `wake` is called, from librdkafka's threads, when the empty queue gets something.
    pub(in crate::kafka) fn new(settings: &Settings, wake: Wake) -> Result<Consumer, Error> {
        let client = Arc::new(Client::new(Kind::Consumer, settings)?);
        // SAFETY: the handle is live. From here on what the main queue gets comes through the consumer's queue.
        let code = unsafe { rd::rd_kafka_poll_set_consumer(client.handle()) };
        // SAFETY: as above; the queue is ours to destroy.
        let queue = NonNull::new(unsafe { rd::rd_kafka_queue_get_consumer(client.handle()) });
        let (0, Some(queue)) = (code as i32, queue) else {
            return Err(Error::Setting { name: "group.id".to_owned(), reason: "a consumer needs one".to_owned() });
        };
        let wake = Box::new(wake);
        let opaque = (&raw const *wake).cast_mut().cast::<c_void>();
        // SAFETY: the queue is live. The opaque points into the box, which stays where it is until `drop` has taken the
        // callback off, under the lock under which librdkafka calls it.
        unsafe { rd::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(ring), opaque) };
        Ok(Consumer { taken: Vec::new(), next: 0, queue, _wake: wake, client })
    }

    /// Its client, which another thread may ask questions.
    pub(in crate::kafka) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Starts to fetch further partitions, each from an offset.
    pub(in crate::kafka) fn add<'a>(
        &mut self,
        from: impl IntoIterator<Item = (&'a CStr, i32, i64)>,
    ) -> Result<(), i32> {
        let mut list = PartitionList::new(8);
        from.into_iter().for_each(|(topic, partition, offset)| list.add(topic, partition, offset));
        // SAFETY: handle and list are live; librdkafka copies the list. An error that is not null is live until it is
        // destroyed, once; its code is librdkafka's own.
        unsafe {
            let error = rd::rd_kafka_incremental_assign(self.client.handle(), list.pointer());
            if error.is_null() {
                return Ok(());
            }
            let code = rd::rd_kafka_error_code(error) as i32;
            rd::rd_kafka_error_destroy(error);
            Err(code)
        }
    }

    /// Stops to fetch a partition that was read to its end.
    pub(in crate::kafka) fn pause(&mut self, topic: &CStr, partition: i32) {
        let mut list = PartitionList::new(1);
        list.add(topic, partition, 0);
        // SAFETY: handle and list are live. The answer can be ignored: fetching more than needed is only a waste.
        unsafe { rd::rd_kafka_pause_partitions(self.client.handle(), list.pointer()) };
    }

    /// How many can be [popped](Self::pop): takes up to `max` from the queue if nothing is left from the last time. Never
    /// waits. Errors about the connection are told to the client's `Told` meanwhile.
    pub(in crate::kafka) fn fill(&mut self, max: usize) -> usize {
        self.take(max, Duration::ZERO)
    }

    /// The same, waiting so long for the first.
    pub(in crate::kafka) fn wait(&mut self, timeout: Duration) -> usize {
        self.take(1, timeout)
    }

    /// Fetches this partition alone, from an offset.
    pub(in crate::kafka) fn fetch_only(&mut self, topic: &CStr, partition: i32, from: i64) -> Result<(), i32> {
        let mut list = PartitionList::new(1);
        list.add(topic, partition, from);
        self.assign(&list)
    }

    /// Fetches nothing any more.
    pub(in crate::kafka) fn fetch_none(&mut self) -> Result<(), i32> {
        self.assign(&PartitionList::new(0))
    }

    /// Fetches these partitions alone. What was fetched before is gone.
    fn assign(&mut self, list: &PartitionList) -> Result<(), i32> {
        while self.pop().is_some() {}
        // SAFETY: handle and list are live; librdkafka copies the list.
        match unsafe { rd::rd_kafka_assign(self.client.handle(), list.pointer()) } as i32 {
            0 => Ok(()),
            code => Err(code),
        }
    }

    /// Lets librdkafka tell what it has to, for a consumer without partitions.
    pub(in crate::kafka) fn serve(&mut self) {
        self.take(1, Duration::ZERO);
    }

    fn take(&mut self, max: usize, timeout: Duration) -> usize {
        if self.next < self.taken.len() {
            return self.taken.len() - self.next;
        }
        self.next = 0;
        self.taken.clear();
        self.taken.reserve(max);
        // SAFETY: the queue is live, the array has room for `max` pointers, and the first `n` of them are set.
        unsafe {
            let n =
                rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis(timeout), self.taken.as_mut_ptr(), max);
            self.taken.set_len(usize::try_from(n).unwrap_or(0));
        }
        self.taken.len()
    }

    /// The next of what was taken.
    pub(in crate::kafka) fn pop(&mut self) -> Option<Taken<'_>> {
        let message = Message { message: NonNull::new(*self.taken.get(self.next)?)?, of: PhantomData };
        self.next += 1;
        let (of, offset, told) = (message.of(), message.offset(), self.client.told());
        Some(match message.code() {
            0 => Taken::Message(message),
            code if is(code, Code::RD_KAFKA_RESP_ERR__PARTITION_EOF) => {
                Taken::End { of, topic: message.topic(), offset }
            }
            code => {
                // An error's text is in place of the payload.
                let cause = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                let cause = told.scrub(cause);
                Taken::Failed { of, topic: message.topic(), offset, code, cause }
            }
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        // SAFETY: the queue is live until here and destroyed once, before the client, which is dropped after this. The
        // callback is taken off first, so that none comes when `wake` is gone.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, std::ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Runs on librdkafka's threads, with the queue locked.
unsafe extern "C" fn ring(_: *mut rd::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: the opaque is the boxed `Wake` of `Consumer::new`, alive while the callback is enabled; it is Sync.
    let wake = unsafe { &*opaque.cast::<Wake>() };
    wake();
}

impl Message<'_> {
    /// A message that somebody else destroys.
    ///
    /// # Safety
    /// It is live, and nobody else uses it, for `'a`.
    pub(super) unsafe fn seen<'a>(message: *const rd::rd_kafka_message_t) -> ManuallyDrop<Message<'a>> {
        ManuallyDrop::new(Message {
            // SAFETY: what is live is not null.
            message: unsafe { NonNull::new_unchecked(message.cast_mut()) },
            of: PhantomData,
        })
    }

    /// Bytes of its key, its value and its headers.
    pub(super) fn bytes(&self) -> usize {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize = self.headers().map(|(name, value)| name.len() + len(value)).sum();
        len(self.key()) + len(self.payload()) + headers
    }

    fn code(&self) -> i32 {
        // SAFETY: the message is live until `drop`.
        unsafe { code_of(self.message.as_ptr()) }
    }

    /// Its partition.
    pub(in crate::kafka) fn of(&self) -> Of {
        // SAFETY: the message is live and unchanged until `drop`. Fields are read in place, since a reference to all of it
        // would claim that its code is one that the bindings know.
        unsafe { Of { topic: (*self.message.as_ptr()).rkt as usize, partition: (*self.message.as_ptr()).partition } }
    }

    /// The name of its topic; none for an error that is of none.
    pub(in crate::kafka) fn topic(&self) -> Option<String> {
        let of = self.of();
        // SAFETY: the topic of a live message is live, and its name ends in NUL.
        (of.topic != 0).then(|| unsafe { owned(rd::rd_kafka_topic_name(of.topic as *const rd::rd_kafka_topic_t)) })
    }

    /// Its offset in the partition.
    pub(in crate::kafka) fn offset(&self) -> i64 {
        // SAFETY: as for the partition.
        unsafe { (*self.message.as_ptr()).offset }
    }

    /// Its key, none for null.
    pub(in crate::kafka) fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka sets pointer and length together, null for a null key, live until the message is destroyed.
        unsafe { bytes((*self.message.as_ptr()).key, (*self.message.as_ptr()).key_len) }
    }

    /// Its value, none for null.
    pub(in crate::kafka) fn payload(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes((*self.message.as_ptr()).payload, (*self.message.as_ptr()).len) }
    }

    /// Milliseconds since the Unix epoch; none in the oldest message formats.
    pub(in crate::kafka) fn timestamp(&self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live, `kind` takes the answer, which is one of the enum's three.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.message.as_ptr(), &mut kind) };
        (kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0).then_some(timestamp)
    }

    /// The same of one that was not delivered, of which librdkafka does not tell it.
    pub(super) fn timestamp_of_undelivered(&self) -> Option<i64> {
        // SAFETY: the message is live and used by this thread alone. It lies in memory that librdkafka writes itself, and its code
        // is put back before librdkafka sees it again.
        unsafe {
            let code = (&raw mut (*self.message.as_ptr()).err).cast::<i32>();
            let kept = code.replace(0);
            let timestamp = self.timestamp();
            code.write(kept);
            timestamp
        }
    }

    /// Its headers in their order, each a name and a value, none for null. librdkafka ends a name at its first NUL.
    pub(in crate::kafka) fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is live and used by this thread alone; on success `headers` points to what the message keeps.
        let code = unsafe { rd::rd_kafka_message_headers(self.message.as_ptr(), &mut headers) } as i32;
        // SAFETY: as above.
        let count = if code == 0 { unsafe { rd::rd_kafka_header_cnt(headers) } } else { 0 };
        (0..count).map(move |index| {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message, which `self` borrows; the index is below their number, so
            // that all three answers are set: a name that ends in NUL, and a value with its size, null for null.
            unsafe {
                rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                (CStr::from_ptr(name).to_bytes(), bytes(value, size))
            }
        })
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: this is its only owner, and the consumer that it came from is still borrowed, so its client is alive.
        unsafe { rd::rd_kafka_message_destroy(self.message.as_ptr()) };
    }
}

/// # Safety
/// A `start` that is not null points to `len` bytes that live and don't change for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: checked for null; the rest is the caller's.
    if start.is_null() { None } else { Some(unsafe { std::slice::from_raw_parts(start.cast(), len) }) }
}
