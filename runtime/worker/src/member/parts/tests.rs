//! What a heartbeat would wait for, were it done by the loop that sends those.

use std::sync::mpsc::channel;

use flow_model::checkpoint::Incarnation;
use flow_rpc::control::Beat;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::network;

/// What was said next, if something was.
fn next(said: &mut UnboundedReceiver<FromWorker>) -> Option<Said> {
    said.try_recv().ok()?.message
}

#[test]
fn figures_are_gathered_beside_heartbeats() {
    let on_failure = Arc::new(|_: &AttemptId, _: &network::Failure| ());
    let address = "127.0.0.1:0".parse().expect("an address");
    let network = Network::listen(address, network::Options::new("w0"), on_failure).expect("a free port");
    let directory = tempfile::tempdir().expect("a directory");
    let options = crate::Options { data_dir: directory.path().to_owned(), component_cache_dir: None };
    let worker = Arc::new(Worker::new(options).expect("it starts"));
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
    let _inside = runtime.enter();
    let parts = Arc::new(Parts::new(worker, WorkerId::of(1), network));
    let (say, mut said) = unbounded_channel();
    parts.register(&say, |_, _| message(Said::Leaving(Nothing {})));
    assert!(matches!(next(&mut said), Some(Said::Leaving(_))), "as its hello");
    // The only thread that may block is held up.
    let (go, held) = channel::<()>();
    runtime.spawn_blocking(move || _ = held.recv());
    let id = AttemptId { incarnation: Incarnation::of(1), attempt: flow_model::checkpoint::Attempt(1) };
    let of = Part { job: JobId::new("any-3f9a2c").expect("an id"), id };
    parts.ask(Ask { number: 7, ask: Some(Question::Metrics(of.message())) });
    parts.say(Said::Beat(Beat {}));
    assert!(matches!(next(&mut said), Some(Said::Beat(_))), "before the answer");
    go.send(()).expect("it waits");
    let answer = runtime.block_on(said.recv()).and_then(|said| said.message);
    let Some(Said::Answer(Answer { number: 7, answer: Some(Reply::Found(figures)) })) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(figures, "[]", "of a part that does not run");
}
