//! The REST API of a daemon, asked as any client may: savepoints, and jobs that begin with one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::unversioned::multipart::{Form, Part};
use ureq::{Agent, Body};

use crate::flowd::Flowd;

/// How long something under way may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was not done.
#[derive(Debug)]
pub struct Refused {
    /// The status of the answer; 0 if none came.
    pub status: u16,
    /// Why.
    pub message: String,
}

impl Flowd {
    /// Posts JSON, or nothing where it is null.
    pub fn post(&self, path: &str, json: &Value) -> Result<Value, Refused> {
        let body = if json.is_null() { String::new() } else { json.to_string() };
        answer(agent().post(format!("{}{path}", self.url)).header("authorization", self.bearer()).send(body))
    }

    /// Deletes.
    pub fn delete(&self, path: &str) -> Result<Value, Refused> {
        answer(agent().delete(format!("{}{path}", self.url)).header("authorization", self.bearer()).call())
    }

    /// Asks for what is there.
    pub fn ask(&self, path: &str) -> Result<Value, Refused> {
        self.ask_as(path, &self.bearer())
    }

    /// The same by who shows this.
    pub fn ask_as(&self, path: &str, authorization: &str) -> Result<Value, Refused> {
        answer(agent().get(format!("{}{path}", self.url)).header("authorization", authorization).call())
    }

    /// What shows that a request may do what it wants; a server without a token does not look at it.
    fn bearer(&self) -> String {
        format!("Bearer {}", self.token().unwrap_or_default().trim())
    }

    /// Sends so many bytes, zeros but for their beginning, as one submission, and hears the answer, which comes before the end.
    pub fn upload_zeros(&self, bytes: u64, is_chunked: bool) -> String {
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://")).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let length =
            if is_chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {bytes}") };
        let head = format!(
            "POST /jobs/submit HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\n\
             content-type: multipart/form-data; boundary=b\r\n{length}\r\n\r\n",
            self.bearer()
        );
        socket.write_all(head.as_bytes()).expect("it reads");
        let mut reader = socket.try_clone().expect("a socket");
        let answer = thread::spawn(move || {
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            // To the end of its JSON, or until it closes, however it does: by itself it waits for another request first.
            while !answer.ends_with(b"}") {
                match reader.read(&mut piece) {
                    Ok(length) if length > 0 => answer.extend(&piece[..length]),
                    _ => break,
                }
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
        let first = b"--b\r\ncontent-disposition: form-data; name=\"big\"\r\n\r\n";
        let zeros = vec![0u8; 1 << 20];
        let mut piece = [first, &zeros[first.len()..]].concat();
        let mut sent = 0;
        while sent < bytes {
            if is_chunked && socket.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).is_err() {
                break;
            }
            if socket.write_all(&piece).is_err() || (is_chunked && socket.write_all(b"\r\n").is_err()) {
                break;
            }
            sent += piece.len() as u64;
            piece.clone_from(&zeros);
        }
        answer.join().expect("it reads")
    }

    /// Deploys a pipeline that begins with this, and returns the job's id. Components as [`Flowd::deploy`] finds them.
    pub fn deploy_from(&self, name: &str, pipeline: &str, start: &Value) -> Result<String, Refused> {
        let job = self.submit("/jobs/submit", name, pipeline, start)?;
        Ok(job["id"].as_str().expect("an id").to_owned())
    }

    /// Whether it could begin with this.
    pub fn check(&self, name: &str, pipeline: &str, start: &Value) -> Result<Value, Refused> {
        self.submit("/jobs/check", name, pipeline, start)
    }

    /// Submits a pipeline without components as it is, and returns the job's id.
    pub fn submit_text(&self, name: &str, pipeline: &str) -> Result<String, Refused> {
        let form = Form::new().part("pipeline", Part::text(pipeline).file_name(name));
        let post = agent().post(format!("{}/jobs/submit", self.url)).header("authorization", self.bearer());
        let job = answer(post.send(form))?;
        Ok(job["id"].as_str().expect("an id").to_owned())
    }

    fn submit(&self, path: &str, name: &str, pipeline: &str, start: &Value) -> Result<Value, Refused> {
        let file = self.pipeline(name, pipeline);
        let (text, start) = (fs::read_to_string(self.path(&file)).expect("a file"), start.to_string());
        let named = text.split("component: '").skip(1).filter_map(|rest| rest.split('\'').next());
        let mut components: Vec<(&str, Vec<u8>)> =
            named.map(|path| (path, fs::read(path).expect("a component"))).collect();
        components.sort();
        components.dedup();
        let mut form = Form::new().part("pipeline", Part::text(&text).file_name(&file)).text("$start", &start);
        for (path, bytes) in &components {
            form = form.part(path, Part::bytes(bytes));
        }
        answer(agent().post(format!("{}{path}", self.url)).header("authorization", self.bearer()).send(form))
    }

    /// Takes a savepoint, with which the job ends if `stop`, and waits until it is complete or has failed.
    #[track_caller]
    pub fn savepoint(&self, job: &str, name: &str, stop: bool) -> Value {
        let wanted = serde_json::json!({"name": name, "stop": stop});
        let asked = self.post(&format!("/jobs/{job}/savepoints"), &wanted);
        assert_eq!(asked.expect("it runs")["name"], name);
        self.savepoint_over(job, name)
    }

    /// Waits until a savepoint is complete or has failed.
    #[track_caller]
    pub fn savepoint_over(&self, job: &str, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            let all = self.ask(&format!("/jobs/{job}/savepoints")).expect("it has checkpoints");
            let found = all["savepoints"].as_array().expect("a list").iter().find(|one| one["name"] == name).cloned();
            match found {
                Some(one) if one["state"] != "in-progress" => return one,
                _ => assert!(begun.elapsed() < PATIENCE, "{all:#}\n{}", self.log()),
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The names of its savepoints, newest first.
    #[track_caller]
    pub fn savepoints(&self, job: &str) -> Vec<String> {
        let all = self.ask(&format!("/jobs/{job}/savepoints")).expect("it has checkpoints");
        let all = all["savepoints"].as_array().expect("a list");
        all.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// The text of an answer.
#[track_caller]
pub fn text(url: &str) -> String {
    agent().get(url).call().expect("it answers").body_mut().read_to_string().expect("text")
}

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().new_agent()
}

fn answer(response: Result<Response<Body>, ureq::Error>) -> Result<Value, Refused> {
    let mut response = response.map_err(|error| Refused { status: 0, message: error.to_string() })?;
    let status = response.status();
    let text = response.body_mut().read_to_string().expect("text");
    let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
    if status.is_success() {
        return Ok(json);
    }
    let wrong = json["diagnostics"].as_array().into_iter().flatten().filter_map(|one| one["message"].as_str());
    let message = json["message"].as_str().into_iter().chain(wrong).collect::<Vec<&str>>().join("; ");
    Err(Refused { status: status.as_u16(), message })
}
