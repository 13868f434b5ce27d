//! Transactions of a producer: init, begin, commit. Each waits for brokers, so a slot's thread calls none. The producer's thread
//! takes reports meanwhile, which makes a commit wait for the broker alone (rdkafka's own flushes in steps of 100 ms).

use std::ffi::c_int;
use std::time::Duration;

use super::client::{millis, owned};
use super::{Code, Producer, is, rd};

/// How a step of a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Failed {
    pub(in crate::kafka) how: How,
    pub(in crate::kafka) cause: String,
}

/// What it means for the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum How {
    /// The same call goes on with it.
    Again,
    /// Another producer of the id has taken over, or the broker has given up this one's transaction.
    Fenced,
    /// We may not, or the broker's settings do not allow it: trying again does not help.
    Refused,
    /// Nobody knows whether it was done, and this producer does nothing any more.
    Lost,
}

impl Producer {
    /// Becomes the only producer of its transactional id; waits until what another one has open is ended.
    pub(in crate::kafka) fn init_transactions(&self, timeout: Duration) -> Result<(), Failed> {
        // SAFETY: the handle is live, the error is ours.
        unsafe { self.judge(rd::rd_kafka_init_transactions(self.client().handle(), millis(timeout))) }
    }

    /// What is produced from here on belongs to a transaction. Asks nobody.
    pub(in crate::kafka) fn begin_transaction(&self) -> Result<(), Failed> {
        // SAFETY: as above.
        unsafe { self.judge(rd::rd_kafka_begin_transaction(self.client().handle())) }
    }

    /// Sends what is not sent yet and commits all of it. Only its success says something: after any error the transaction may
    /// be committed.
    pub(in crate::kafka) fn commit_transaction(&self) -> Result<(), Failed> {
        // As long as the transaction may take.
        const TRANSACTION: c_int = -1;
        // SAFETY: as above.
        unsafe { self.judge(rd::rd_kafka_commit_transaction(self.client().handle(), TRANSACTION)) }
    }

    /// Aborts the transaction, with all that was sent of it.
    pub(in crate::kafka) fn abort_transaction(&self) -> Result<(), Failed> {
        // As long as the transaction may take.
        const TRANSACTION: c_int = -1;
        // SAFETY: as above.
        unsafe { self.judge(rd::rd_kafka_abort_transaction(self.client().handle(), TRANSACTION)) }
    }

    /// Waits until all that was given is stored, or is known not to be, or for so long.
    pub(in crate::kafka) fn flush(&self, timeout: Duration) {
        // SAFETY: the handle is live.
        _ = unsafe { rd::rd_kafka_flush(self.client().handle(), millis(timeout)) };
    }

    /// # Safety
    /// An error that is not null is live and nobody else's.
    unsafe fn judge(&self, error: *mut rd::rd_kafka_error_t) -> Result<(), Failed> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: it is live until it is destroyed, once, and its text ends in NUL. Its code is one of those that librdkafka handles
        // in transactions.
        let (code, again, over, text) = unsafe {
            let code = rd::rd_kafka_error_code(error) as i32;
            let again = rd::rd_kafka_error_is_retriable(error) != 0;
            let over = rd::rd_kafka_error_txn_requires_abort(error) != 0;
            let text = owned(rd::rd_kafka_error_string(error));
            rd::rd_kafka_error_destroy(error);
            (code, again, over, text)
        };
        let cause = self.client().told().scrub(text);
        // Records that have timed out say so with the code of a call that has, which may be called again.
        let how = match how(code, again) {
            How::Again if over => How::Lost,
            how => how,
        };
        Err(Failed { how, cause })
    }
}

/// Whether a code says that another producer has taken over, or that the broker has given up this one's transaction.
pub(super) fn is_fenced(code: i32) -> bool {
    use Code::*;
    is_one_of(
        code,
        &[
            RD_KAFKA_RESP_ERR__FENCED,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
        ],
    )
}

fn is_one_of(code: i32, codes: &[Code]) -> bool {
    codes.iter().any(|known| is(code, *known))
}

fn how(code: i32, again: bool) -> How {
    use Code::*;
    let refused = [
        RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT,
        RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE,
    ];
    match code {
        _ if is_fenced(code) => How::Fenced,
        _ if is_one_of(code, &refused) => How::Refused,
        _ if again || is(code, RD_KAFKA_RESP_ERR__TIMED_OUT) => How::Again,
        _ => How::Lost,
    }
}
