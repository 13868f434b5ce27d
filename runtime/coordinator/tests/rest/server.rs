//! A coordinator in this process, and the few words that the tests say to it.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flow_coordinator::jobs::Jobs;
use flow_coordinator::rest::{self, Options};
use flow_model::api::{Description, Job, Refusal, part};
use flow_worker::Worker;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::sync::oneshot;
use ureq::http::Response;
use ureq::unversioned::multipart::{Form, Part};
use ureq::{Agent, Body};

/// Ends after ten records.
pub const FINITE: &str = "
apiVersion: flow/v1
kind: Pipeline
metadata: {name: finite}
sources:
  in: {generator: {count: 10, value: 'record {{seq}}'}}
sinks:
  out: {blackhole: {}, from: in}
";

/// Never ends by itself.
pub const ENDLESS: &str = "
apiVersion: flow/v1
kind: Pipeline
metadata: {name: endless}
sources:
  in: {generator: {rate: 100, value: x}}
sinks:
  out: {blackhole: {}, from: in}
";

/// One operator, whose component is handed in or not.
pub const OPERATOR: &str = "
apiVersion: flow/v1
kind: Pipeline
metadata: {name: operator}
sources:
  in: {generator: {count: 10, value: x}}
operators:
  shout: {component: ./shout.wasm, from: in}
sinks:
  out: {blackhole: {}, from: shout}
";

/// Threads for what blocks; few, so that what keeps them for itself is found.
pub const BLOCKING_THREADS: usize = 8;

pub struct Server {
    pub url: String,
    pub port: u16,
    pub jobs: Arc<Jobs>,
    pub data: TempDir,
    agent: Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let worker = flow_worker::Options { data_dir: data.path().to_owned(), component_cache_dir: None };
        let worker = Worker::new(worker).expect("a worker");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).max_blocking_threads(BLOCKING_THREADS).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _guard = runtime.enter();
        let jobs = Arc::new(Jobs::new(worker, data.path().to_owned(), "test".into()).expect("a registry"));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { _ = stopped.await };
        let api = rest::Api::new(jobs.clone(), options);
        let thread = thread::spawn(move || {
            runtime.block_on(rest::serve(listener, api, shutdown)).expect("it serves");
        });
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        let agent = agent.build().new_agent();
        let url = format!("http://127.0.0.1:{port}");
        Self { url, port, jobs, data, agent, stop: Some(stop), thread: Some(thread) }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, (u16, Refusal)> {
        answer(self.agent.get(format!("{}{path}", self.url)).call().expect("an answer"))
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, (u16, Refusal)> {
        answer(self.agent.post(format!("{}{path}", self.url)).send_empty().expect("an answer"))
    }

    /// Posts a body as it is.
    pub fn post_text<T: DeserializeOwned>(&self, path: &str, text: &str) -> Result<T, (u16, Refusal)> {
        answer(self.agent.post(format!("{}{path}", self.url)).send(text).expect("an answer"))
    }

    /// Deletes, which has to be answered by nothing.
    pub fn delete(&self, path: &str) -> Result<(), (u16, Refusal)> {
        let response = self.agent.delete(format!("{}{path}", self.url)).call().expect("an answer");
        if response.status() == 204 { Ok(()) } else { answer(response) }
    }

    pub fn send<T: DeserializeOwned>(&self, path: &str, form: Form<'_>) -> Result<T, (u16, Refusal)> {
        answer(self.agent.post(format!("{}{path}", self.url)).send(form).expect("an answer"))
    }

    pub fn submit(&self, pipeline: &str) -> Result<Job, (u16, Refusal)> {
        self.send("/jobs/submit", form(pipeline))
    }

    /// Waits for the job's end.
    pub fn ended(&self, job: &str) -> Description {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let description: Description = self.get(&format!("/jobs/{job}")).expect("a known job");
            if description.job.state.is_terminal() {
                return description;
            }
            assert!(Instant::now() < deadline, "{job} does not end: {description:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn body(&self, path: &str) -> String {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().expect("an answer");
        response.body_mut().read_to_string().expect("text")
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.jobs.stop(Duration::from_secs(10));
        // Connections that the client keeps would be waited for.
        self.agent = Agent::config_builder().build().new_agent();
        _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A form with a pipeline file.
pub fn form(pipeline: &str) -> Form<'_> {
    Form::new().part(part::PIPELINE, Part::text(pipeline).file_name("p.yaml"))
}

/// What the server answered, or its status and refusal.
pub fn answer<T: DeserializeOwned>(mut response: Response<Body>) -> Result<T, (u16, Refusal)> {
    let status = response.status();
    let text = response.body_mut().read_to_string().expect("text");
    if status.is_success() {
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")))
    } else {
        let refusal = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status}: {error} in {text}"));
        Err((status.as_u16(), refusal))
    }
}
