//! Making a topic.

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use super::client::{Client, owned, string};
use super::{Code, is, rd};

impl Client {
    /// Makes a topic with these settings. One that is there is fine, whatever its settings are.
    pub(in crate::kafka) fn create(
        &self,
        topic: &CStr,
        (partitions, replicas): (u32, u32),
        settings: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), (i32, String)> {
        let mut text = [0 as c_char; 512];
        // SAFETY: the name ends in NUL and is copied, the length is that of the buffer.
        let new = unsafe {
            let (length, name) = (text.len(), topic.as_ptr());
            rd::rd_kafka_NewTopic_new(name, partitions as i32, replicas as i32, text.as_mut_ptr(), length)
        };
        if new.is_null() {
            return Err((Code::RD_KAFKA_RESP_ERR__INVALID_ARG as i32, string(&text)));
        }
        for (name, value) in settings {
            let c = |text: &str| CString::new(text).expect("our own settings have no NUL");
            // SAFETY: the topic is live, the strings end in NUL and are copied.
            unsafe { rd::rd_kafka_NewTopic_set_config(new, c(name).as_ptr(), c(value).as_ptr()) };
        }
        let mut all = [new];
        let ask = |options, queue| {
            // SAFETY: all are live, one topic as it says, and copied as far as librdkafka keeps them.
            unsafe { rd::rd_kafka_CreateTopics(self.handle(), all.as_mut_ptr(), 1, options, queue) };
        };
        let answer = self.answer(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout, |_| (), ask);
        // SAFETY: destroyed once, after its use.
        unsafe { rd::rd_kafka_NewTopic_destroy(new) };
        let answer = answer.map_err(|code| (code, super::describe(code)))?;
        // SAFETY: an answer without an error is one to this question: `count` topics that live as long as it, with an error text
        // that is null for none. The code is one that librdkafka made of the broker's.
        unsafe {
            let mut count = 0;
            let all = rd::rd_kafka_CreateTopics_result_topics(
                rd::rd_kafka_event_CreateTopics_result(answer.pointer()),
                &mut count,
            );
            for one in (0..count).map(|index| *all.add(index)) {
                let code = rd::rd_kafka_topic_result_error(one) as i32;
                if code != 0 && !is(code, Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
                    return Err((code, owned(rd::rd_kafka_topic_result_error_string(one))));
                }
            }
        }
        Ok(())
    }
}
