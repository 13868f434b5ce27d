//! Lists of partitions, which librdkafka takes for many a question.

use std::ffi::CStr;
use std::ptr::NonNull;

use super::rd;

/// A list of partitions with offsets.
pub(super) struct PartitionList(NonNull<rd::rd_kafka_topic_partition_list_t>);

impl PartitionList {
    /// An empty one with room for so many.
    pub(super) fn new(capacity: usize) -> PartitionList {
        // SAFETY: no precondition.
        let list = unsafe { rd::rd_kafka_topic_partition_list_new(capacity.try_into().unwrap_or(0)) };
        PartitionList(NonNull::new(list).expect("librdkafka ends the process when memory is out"))
    }

    pub(super) fn add(&mut self, topic: &CStr, partition: i32, offset: i64) {
        // SAFETY: the list is live; an entry that is added is live until the next one is. The name is copied.
        unsafe { (*rd::rd_kafka_topic_partition_list_add(self.pointer(), topic.as_ptr(), partition)).offset = offset };
    }

    pub(super) fn pointer(&self) -> *mut rd::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: destroyed once, by its only owner.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) };
    }
}
