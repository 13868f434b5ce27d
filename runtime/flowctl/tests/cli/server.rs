//! A coordinator with a worker in this process.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flow_coordinator::jobs::Jobs;
use flow_coordinator::rest;
use flow_worker::Worker;
use tempfile::TempDir;
use tokio::sync::oneshot;

pub struct Server {
    pub url: String,
    jobs: Arc<Jobs>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _data: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(rest::Options::default())
    }

    pub fn with(api: rest::Options) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let options = flow_worker::Options { data_dir: data.path().to_owned(), component_cache_dir: None };
        let worker = Worker::new(options).expect("a worker");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _guard = runtime.enter();
        let jobs = Arc::new(Jobs::new(worker, data.path().to_owned(), "test".into()).expect("a registry"));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { _ = stopped.await };
        let serving = rest::serve(listener, rest::Api::new(jobs.clone(), api), shutdown);
        let thread = thread::spawn(move || runtime.block_on(serving).expect("it serves"));
        Self { url, jobs, stop: Some(stop), thread: Some(thread), _data: data }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.jobs.stop(Duration::from_secs(10));
        _ = self.stop.take().map(|stop| stop.send(()));
        // A panic in it is told by the thread itself.
        _ = self.thread.take().map(JoinHandle::join);
    }
}
