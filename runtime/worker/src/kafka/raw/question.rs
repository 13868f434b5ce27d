//! What a client of either kind asks a broker: which topics there are, of how many partitions, which offsets they have.
//! Each question waits for its answer, so a slot's thread asks none.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::client::{Client, millis, owned};
use super::list::PartitionList;
use super::{Code, is_unanswered, rd};

/// What a broker answers where no record has such a timestamp or a later one.
const NONE: i64 = -1;
/// What librdkafka takes for the oldest offset there is.
pub(in crate::kafka) const EARLIEST: i64 = -2;
/// What it takes for the offset after the newest record.
pub(in crate::kafka) const LATEST: i64 = -1;

/// The text of an id that is none: brokers before 2.8 give no ids to topics.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// How long an answer may take that librdkafka has already given up on.
const GRACE: Duration = Duration::from_secs(1);
/// So long a broker may take to answer before it is asked for one that does.
const DEAF: Duration = Duration::from_secs(2);
/// The number of no broker: librdkafka takes the one that it has for the controller.
pub(super) const NOBODY: i32 = -1;

/// A topic as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Described {
    pub(in crate::kafka) name: String,
    /// What tells it from another topic of the same name; none from an old broker.
    pub(in crate::kafka) id: Option<String>,
    /// Whether each of its partitions has a leader.
    pub(in crate::kafka) leaders: Vec<bool>,
    /// 0, or why it can't be described.
    pub(in crate::kafka) code: i32,
}

impl Described {
    pub(in crate::kafka) fn partitions(&self) -> u32 {
        self.leaders.len() as u32
    }
}

/// What brokers take for a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::kafka) struct TopicLimits {
    /// The largest batch, in bytes.
    pub(in crate::kafka) bytes: Option<i64>,
    /// It is compacted, so each record has a key.
    pub(in crate::kafka) keyed: bool,
    /// How far timestamps of records may lie before and after the clock of the broker, in milliseconds; none where it
    /// stamps them itself.
    pub(in crate::kafka) around: Option<(i64, i64)>,
}

impl TopicLimits {
    fn of(settings: &HashMap<String, String>) -> TopicLimits {
        let text = |name: &str| settings.get(name).map_or("", String::as_str);
        let number = |name: &str| text(name).parse().ok();
        let far = |name: &str| number(name).unwrap_or(i64::MAX);
        let around = (far("message.timestamp.before.max.ms"), far("message.timestamp.after.max.ms"));
        TopicLimits {
            bytes: number("max.message.bytes"),
            keyed: text("cleanup.policy").contains("compact"),
            around: (text("message.timestamp.type") != "LogAppendTime").then_some(around),
        }
    }
}

/// An answer, destroyed when dropped.
pub(super) struct Event(NonNull<rd::rd_kafka_event_t>);

impl Event {
    pub(super) fn pointer(&self) -> *mut rd::rd_kafka_event_t {
        self.0.as_ptr()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: destroyed once, by its only owner.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

impl Client {
    /// Names of all topics that we may see, or the broker's code.
    pub(in crate::kafka) fn names(&self, timeout: Duration) -> Result<Vec<String>, i32> {
        self.metadata(timeout, |metadata| {
            // SAFETY: the answer points to a list of `topic_cnt` topics with names that end in NUL, which live as long as it. Topics
            // are read in place, since their codes may be ones that the bindings do not know.
            unsafe {
                let (first, count) = ((*metadata).topics, usize::try_from((*metadata).topic_cnt).unwrap_or(0));
                (0..count).map(|index| owned((*first.add(index)).topic)).collect()
            }
        })
    }

    /// How many brokers the cluster has.
    pub(in crate::kafka) fn brokers_there(&self, timeout: Duration) -> Result<u32, i32> {
        // SAFETY: the answer is live.
        self.metadata(timeout, |metadata| u32::try_from(unsafe { (*metadata).broker_cnt }).unwrap_or(0))
    }

    /// What a broker that there is a connection to says of the cluster and all of its topics, as long as `read` runs. That of some
    /// topics is not asked for: librdkafka lets the broker make those that it knew and that are gone.
    fn metadata<T>(&self, timeout: Duration, read: impl FnOnce(*const rd::rd_kafka_metadata) -> T) -> Result<T, i32> {
        let mut metadata = std::ptr::null();
        // SAFETY: the handle is live; `metadata` takes the answer.
        let code = unsafe {
            rd::rd_kafka_metadata(self.handle(), 1, std::ptr::null_mut(), &mut metadata, millis(timeout)) as i32
        };
        if code != 0 {
            return Err(code);
        }
        let read = read(metadata);
        // SAFETY: on success there is an answer, which is destroyed once, after its use.
        unsafe { rd::rd_kafka_metadata_destroy(metadata) };
        Ok(read)
    }

    /// Topics as the cluster knows them, in any order, or the code of the whole question.
    pub(in crate::kafka) fn describe(&self, topics: &[CString], timeout: Duration) -> Result<Vec<Described>, i32> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: Vec<*const c_char> = topics.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: as many names as it says, which end in NUL and are copied.
        let collection = unsafe { rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) };
        let ask = |options, queue| {
            // SAFETY: all are live, and copied as far as librdkafka keeps them.
            unsafe { rd::rd_kafka_DescribeTopics(self.handle(), collection, options, queue) };
        };
        let answer = self.answer_of_any(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout, ask);
        // SAFETY: destroyed once, after its use.
        unsafe { rd::rd_kafka_TopicCollection_destroy(collection) };
        let answer = answer?;
        // SAFETY: an answer without an error is one to this question: `count` topics, each live as long as the answer. A
        // topic's error is null for none.
        unsafe {
            let mut count = 0;
            let result = rd::rd_kafka_event_DescribeTopics_result(answer.0.as_ptr());
            let all = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            Ok((0..count).map(|index| described(*all.add(index))).collect())
        }
    }

    /// Offsets of partitions: [`EARLIEST`], [`LATEST`] as far as readers of this isolation see, or the first one with a
    /// timestamp of so many milliseconds or later. No partition may come twice. The answer has each partition
    /// that was asked for, in any order.
    pub(in crate::kafka) fn offsets(
        &self,
        of: &[(&CStr, i32)],
        which: i64,
        committed: bool,
        timeout: Duration,
    ) -> Result<Vec<Offset>, i32> {
        let mut list = PartitionList::new(of.len());
        of.iter().for_each(|(topic, partition)| list.add(topic, *partition, which));
        let level = match committed {
            true => rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            false => rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        let isolated = |options| {
            // SAFETY: the options are live and for a question that has isolation, so there is no error.
            unsafe { rd::rd_kafka_AdminOptions_set_isolation_level(options, level) };
        };
        let ask = |options, queue| {
            // SAFETY: all are live, and copied as far as librdkafka keeps them.
            unsafe { rd::rd_kafka_ListOffsets(self.handle(), list.pointer(), options, queue) };
        };
        let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let answer = self.answer(op, timeout, isolated, ask)?;
        // SAFETY: an answer without an error is one to this question: `count` results, each with a partition that lives as
        // long as the answer.
        unsafe {
            let mut count = 0;
            let result = rd::rd_kafka_event_ListOffsets_result(answer.0.as_ptr());
            let all = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
            Ok((0..count).map(|index| offset(*all.add(index))).collect())
        }
    }

    /// What brokers take for each of these topics, as far as they tell us.
    pub(in crate::kafka) fn limits(&self, topics: &[CString], timeout: Duration) -> HashMap<String, TopicLimits> {
        let all = self.topic_settings(topics, timeout).unwrap_or_default();
        all.into_iter().map(|(topic, settings)| (topic, TopicLimits::of(&settings))).collect()
    }

    /// The settings of topics, by their names; none of a topic that is not there.
    pub(in crate::kafka) fn topic_settings(
        &self,
        topics: &[CString],
        timeout: Duration,
    ) -> Result<HashMap<String, HashMap<String, String>>, i32> {
        let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let new = |name: &CString| {
            // SAFETY: the name ends in NUL and is copied.
            unsafe { rd::rd_kafka_ConfigResource_new(kind, name.as_ptr()) }
        };
        let mut resources: Vec<_> = topics.iter().map(new).collect();
        let (first, count) = (resources.as_mut_ptr(), resources.len());
        let ask = |options, queue| {
            // SAFETY: all are live, as many resources as it says, and copied as far as librdkafka keeps them.
            unsafe { rd::rd_kafka_DescribeConfigs(self.handle(), first, count, options, queue) };
        };
        let answer = self.answer_of_any(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout, ask);
        // SAFETY: each is destroyed once, after its use.
        unsafe { rd::rd_kafka_ConfigResource_destroy_array(first, count) };
        let answer = answer?;
        let mut settings: HashMap<String, HashMap<String, String>> = HashMap::new();
        // SAFETY: an answer without an error is one to this question: resources with entries, as many as it says, with names and
        // values that live as long as the answer and end in NUL.
        unsafe {
            let (mut resources, mut entries) = (0, 0);
            let result = rd::rd_kafka_event_DescribeConfigs_result(answer.0.as_ptr());
            let all = rd::rd_kafka_DescribeConfigs_result_resources(result, &mut resources);
            for resource in (0..resources).map(|index| *all.add(index)) {
                let configs = rd::rd_kafka_ConfigResource_configs(resource, &mut entries);
                for entry in (0..entries).map(|index| *configs.add(index)) {
                    let topic = settings.entry(owned(rd::rd_kafka_ConfigResource_name(resource))).or_default();
                    let (name, value) = (rd::rd_kafka_ConfigEntry_name(entry), rd::rd_kafka_ConfigEntry_value(entry));
                    topic.insert(owned(name), owned(value));
                }
            }
        }
        Ok(settings)
    }

    /// Asks, and waits for the answer or the code of the whole question.
    pub(super) fn answer(
        &self,
        op: rd::rd_kafka_admin_op_t,
        timeout: Duration,
        set: impl FnOnce(*mut rd::rd_kafka_AdminOptions_t),
        ask: impl FnOnce(*const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) -> Result<Event, i32> {
        let mut text = [0 as c_char; 128];
        // SAFETY: the handle is live, and options and queue from here to their end below. The time-out is one that librdkafka
        // takes. A question that is not answered yet keeps its own hold of the queue.
        let event = unsafe {
            let options = rd::rd_kafka_AdminOptions_new(self.handle(), op);
            let (length, within) = (text.len(), millis(timeout));
            rd::rd_kafka_AdminOptions_set_request_timeout(options, within, text.as_mut_ptr(), length);
            set(options);
            let queue = rd::rd_kafka_queue_new(self.handle());
            ask(options, queue);
            // The time of a question to leaders begins anew when it is known who they are.
            let event = rd::rd_kafka_queue_poll(queue, millis(2 * timeout + GRACE));
            rd::rd_kafka_queue_destroy(queue);
            rd::rd_kafka_AdminOptions_destroy(options);
            event
        };
        let event = Event(NonNull::new(event).ok_or(Code::RD_KAFKA_RESP_ERR__TIMED_OUT as i32)?);
        // SAFETY: the event is live.
        match unsafe { rd::rd_kafka_event_error(event.0.as_ptr()) } as i32 {
            0 => Ok(event),
            code => Err(code),
        }
    }

    /// The same of a question that each broker can answer. librdkafka asks the controller; a cluster without ZooKeeper calls any of
    /// its brokers that, at random, and for a while one that is gone. So who is deaf is left for one that answers something else.
    fn answer_of_any(
        &self,
        op: rd::rd_kafka_admin_op_t,
        timeout: Duration,
        ask: impl Fn(*const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) -> Result<Event, i32> {
        let of = |broker: i32, within| {
            let choose = |options| {
                if broker > NOBODY {
                    let mut text = [0 as c_char; 128];
                    let length = text.len();
                    // SAFETY: the options are live, the length is that of the buffer. No number but a negative one is refused.
                    unsafe { rd::rd_kafka_AdminOptions_set_broker(options, broker, text.as_mut_ptr(), length) };
                }
            };
            self.answer(op, within, choose, &ask)
        };
        match of(self.answering.load(Relaxed), DEAF.min(timeout)) {
            Err(code) if is_unanswered(code) => {
                // SAFETY: the answer is live.
                let answering = self.metadata(timeout, |metadata| unsafe { (*metadata).orig_broker_id });
                let answering = answering.map_err(|_| code)?;
                self.answering.store(answering, Relaxed);
                of(answering, timeout)
            }
            answer => answer,
        }
    }
}

/// An offset of a partition, none if no record is that late, or why it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Offset {
    pub(in crate::kafka) topic: String,
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) offset: Result<Option<i64>, i32>,
}

/// # Safety
/// The description is live.
unsafe fn described(topic: *const rd::rd_kafka_TopicDescription_t) -> Described {
    // SAFETY: name and id live as long as the description; the array has as many partitions as it says, each with a number and
    // a leader that is null for none. The code is one that librdkafka made of the broker's.
    unsafe {
        let error = rd::rd_kafka_TopicDescription_error(topic);
        let code = if error.is_null() { 0 } else { rd::rd_kafka_error_code(error) as i32 };
        let name = owned(rd::rd_kafka_TopicDescription_name(topic));
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let id = if id.is_null() { String::new() } else { owned(rd::rd_kafka_Uuid_base64str(id)) };
        let mut count = 0;
        let all = rd::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let mut leaders = vec![false; count];
        for index in 0..count {
            let partition = *all.add(index);
            let number = usize::try_from(rd::rd_kafka_TopicPartitionInfo_partition(partition)).unwrap_or(usize::MAX);
            if let Some(leader) = leaders.get_mut(number) {
                *leader = !rd::rd_kafka_TopicPartitionInfo_leader(partition).is_null();
            }
        }
        Described { name, id: (!id.is_empty() && id != NO_ID).then_some(id), leaders, code }
    }
}

/// # Safety
/// The result is live.
unsafe fn offset(result: *const rd::rd_kafka_ListOffsetsResultInfo_t) -> Offset {
    // SAFETY: the partition lives as long as the result. Its code is read in place, as the number that it is.
    unsafe {
        let partition = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(result);
        let code = (&raw const (*partition).err).cast::<i32>().read();
        Offset {
            topic: owned((*partition).topic),
            partition: (*partition).partition,
            offset: match (code, (*partition).offset) {
                (0, offset @ 0..) => Ok(Some(offset)),
                (0, NONE) => Ok(None),
                // The leader of this one did not answer, which librdkafka tells of no partition where other leaders did.
                (0, _) => Err(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32),
                (code, _) => Err(code),
            },
        }
    }
}
