//! Questions to workers, and who waits for the answers. Must never wait for a worker that is lost, nor keep what nobody waits for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use flow_model::ids::WorkerId;
use flow_rpc::control::{Ask, answer::Answer as Reply, ask::Ask as Asked, to_worker::Message as Told};

use super::{Cluster, State};

/// The questions that somebody waits for, by their numbers.
#[derive(Default)]
pub(super) struct Questions(HashMap<u64, Waiting>);

/// Who waits, and for whom. What goes with the last of them tells who waits that nothing more comes.
struct Waiting {
    of: BTreeSet<WorkerId>,
    answer: Sender<(WorkerId, Reply)>,
}

impl Questions {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A worker has answered. What it was not asked is dropped.
    pub(super) fn answered(&mut self, number: u64, worker: &WorkerId, reply: Option<Reply>) {
        let Some(waiting) = self.0.get_mut(&number).filter(|waiting| waiting.of.contains(worker)) else { return };
        if let Some(reply) = reply {
            // Who asked may have given up.
            _ = waiting.answer.send((worker.clone(), reply));
        }
        self.none_from(worker, |of| of == number);
    }

    /// A worker answers nothing any more.
    pub(super) fn lost(&mut self, worker: &WorkerId) {
        self.none_from(worker, |_| true);
    }

    fn none_from(&mut self, worker: &WorkerId, such: impl Fn(u64) -> bool) {
        self.0.retain(|number, waiting| {
            if such(*number) {
                waiting.of.remove(worker);
            }
            !waiting.of.is_empty()
        });
    }
}

/// A question that was asked, as who waits has it.
pub(super) struct Question {
    cluster: Arc<Cluster>,
    number: u64,
    answers: Receiver<(WorkerId, Reply)>,
}

impl Question {
    /// Asks these workers, under the lock of the state.
    pub(super) fn ask(cluster: &Arc<Cluster>, state: &mut State, of: BTreeSet<WorkerId>, what: &Asked) -> Question {
        let ((answer, answers), number) = (channel(), state.number());
        for worker in &of {
            let ask = Some(what.clone());
            cluster.say(state, worker, Told::Ask(Ask { number, ask }));
        }
        if !of.is_empty() {
            state.questions.0.insert(number, Waiting { of, answer });
        }
        Question { cluster: cluster.clone(), number, answers }
    }

    /// The next answer; none if none comes until then, or any more.
    pub(super) fn next(&self, until: Instant) -> Option<(WorkerId, Reply)> {
        self.answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.cluster.lock().questions.0.remove(&self.number);
    }
}
