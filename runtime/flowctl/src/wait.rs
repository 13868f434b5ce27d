//! Waiting for what a server does, by asking again and again. Who looks on is told what is waited for: on a terminal by one line that changes,
//! elsewhere by a line for each change. A server that can't be asked for a while ends no wait.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use flow_model::api::{Description, Job, JobState};
use flow_model::ids::JobId;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::server::Server;

/// So long a server that has answered and does not any more is asked again: another coordinator leads long before that.
pub const GIVE_UP: Duration = Duration::from_secs(60);
/// Before each try.
pub const PAUSE: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// What takes less shows nothing.
const QUIET: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
/// It is known after so long whether a job waits for slots, with some to spare.
const MOMENT: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(100);

/// Who waits for what a server does.
pub struct Waiting<'a> {
    server: &'a Server,
    output: &'a Output,
    begun: Instant,
    /// So long it asks a server that does not answer.
    patience: Duration,
    /// Whether the server is a coordinator of a cluster, once that is known.
    is_cluster: Option<bool>,
    spinner: Option<ProgressBar>,
    /// The last line that was told.
    said: String,
}

/// Looks again and again until there is something; meanwhile `look` says what it waits for. There is no time limit.
pub fn until<T>(
    server: &Server,
    output: &Output,
    look: impl FnMut(&mut Waiting) -> Result<ControlFlow<T, String>, Failure>,
) -> Result<T, Failure> {
    Waiting::new(server, output, GIVE_UP).until(look)
}

impl<'a> Waiting<'a> {
    fn new(server: &'a Server, output: &'a Output, patience: Duration) -> Self {
        let (begun, said) = (Instant::now(), String::new());
        Self { server, output, begun, patience, is_cluster: None, spinner: None, said }
    }

    fn until<T>(
        mut self,
        mut look: impl FnMut(&mut Waiting) -> Result<ControlFlow<T, String>, Failure>,
    ) -> Result<T, Failure> {
        let mut pause = FIRST;
        let found = loop {
            match look(&mut self) {
                Ok(ControlFlow::Break(found)) => break Ok(found),
                Err(failure) => break Err(failure),
                Ok(ControlFlow::Continue(what)) if self.begun.elapsed() >= QUIET => self.tell(&what),
                // As long as it answers.
                Ok(ControlFlow::Continue(_)) => self.is_cluster = self.is_cluster.or_else(|| self.server.is_cluster()),
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST);
        };
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
        found
    }

    fn tell(&mut self, what: &str) {
        if self.output.shows_progress() {
            self.spinner.get_or_insert_with(|| spin(self.begun)).set_message(what.to_owned());
        } else if self.said != what {
            self.output.note(&format!("waiting: {what}"));
            what.clone_into(&mut self.said);
        }
    }

    /// Asks for `path` of a server that answered a moment ago, until it does.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let mut lost = None;
        loop {
            let failure = match self.server.get(path) {
                Err(failure) if failure.exit == Exit::Unreachable => failure,
                answered => return answered,
            };
            if lost.is_none() {
                self.tell(&format!("{}; trying again for {} s", failure.message, self.patience.as_secs()));
            }
            if lost.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                return Err(failure);
            }
            thread::sleep(PAUSE.min(self.patience));
        }
    }

    /// The same of what is of a job that the server knew a moment ago.
    pub fn ask<T: DeserializeOwned>(&mut self, job: &Job, path: &str) -> Result<T, Failure> {
        self.get(path).map_err(|failure| self.lost(job, failure))
    }

    /// The server knew the job a moment ago, and now tells of it only what its store says.
    pub fn forgotten(&self, job: &Job) -> Failure {
        let refused = Failure::new(Exit::Refused, "not-found", format!("only its store knows of {}", job.name));
        self.lost(job, refused)
    }

    /// The server knew the job a moment ago and tells no more of it.
    fn lost(&self, job: &Job, failure: Failure) -> Failure {
        let is_cluster = self.is_cluster;
        let (what, hint) = match (failure.exit, failure.code.as_str()) {
            (Exit::Unreachable, "no-answer") => ("does not answer any more", goes_on(is_cluster)),
            (Exit::Unreachable, "unavailable") => ("answers, and can't tell of its jobs", goes_on(is_cluster)),
            (Exit::Unreachable, _) => ("can't be reached any more", goes_on(is_cluster)),
            (Exit::Refused, _) if is_cluster == Some(true) => {
                ("does not know the job any more, since another coordinator leads", ENDED.to_owned())
            }
            (Exit::Refused, _) => ("was started again and does not know the job any more", goes_on(is_cluster)),
            _ => return failure,
        };
        let (url, Job { id, state, .. }) = (self.server.url(), job);
        let message =
            format!("the server at {url} {what}; {id} was {state} when it last told of it ({})", failure.message);
        Failure::new(Exit::Unreachable, "connection-lost", message).hint(hint)
    }
}

const ENDED: &str =
    "it came to its end before that, or can't go on: `flowctl list`, and `flowctl checkpoint ls NAME` for what it left";

/// What becomes of the jobs of a server that is away.
fn goes_on(is_cluster: Option<bool>) -> String {
    let hint = match is_cluster {
        Some(true) => "its jobs go on as soon as a coordinator leads the cluster: ask another one with --server URL",
        Some(false) => "started again, flowd lets jobs with checkpoints go on; `flowctl deploy` starts the others",
        None => {
            "started again, flowd lets jobs with checkpoints go on; of a cluster ask another coordinator with --server URL"
        }
    };
    hint.to_owned()
}

fn spin(begun: Instant) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_style(style()).with_elapsed(begun.elapsed());
    spinner.enable_steady_tick(TICK);
    spinner
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is well formed")
}

/// How far a job is, and what it waits for.
pub fn standing(now: &Description) -> String {
    let Job { id, state, error, .. } = &now.job;
    match (&now.waits_for, error) {
        (Some(why), _) => format!("{id} is {state}, and waits: it {why}"),
        (None, Some(why)) if *state != JobState::Running => format!("{id} is {state}: {why}"),
        (None, _) => format!("{id} is {state}"),
    }
}

/// The job as it is when nothing of it runs any more. A job may run for ever.
pub fn until_ended(server: &Server, mut job: Job, output: &Output) -> Result<Job, Failure> {
    if job.state.is_terminal() {
        return Ok(job);
    }
    until(server, output, |waiting| {
        let now: Description = waiting.ask(&job, &format!("/jobs/{}", job.id))?;
        let what = standing(&now);
        job = now.job;
        Ok(if job.state.is_terminal() { ControlFlow::Break(job.clone()) } else { ControlFlow::Continue(what) })
    })
}

/// Says of each of these jobs if it waits for something before it can run, such as slots: a moment after what was asked for that is known.
/// `is_there` says whether one runs as it is to.
pub fn remark<'a>(
    server: &Server,
    jobs: impl IntoIterator<Item = &'a JobId>,
    is_there: impl Fn(&Description) -> bool,
    output: &Output,
) {
    // Nobody would read it.
    if output.is_for_programs() {
        return;
    }
    let begun = Instant::now();
    for id in jobs {
        // What was asked for is done, whatever comes of this.
        while let Ok(now) = server.get::<Description>(&format!("/jobs/{id}")) {
            if let Some(why) = &now.waits_for {
                output.note(&format!("{id} waits: it {why}"));
                break;
            }
            if now.job.state.is_terminal() || is_there(&now) || begun.elapsed() >= MOMENT {
                break;
            }
            thread::sleep(GLANCE);
        }
    }
}

/// Whether a job runs.
pub fn runs(now: &Description) -> bool {
    // There are none as long as nothing of it runs.
    now.job.state == JobState::Running && !now.operators.is_empty()
}

/// How the process ends for a job that has ended.
pub fn outcome(job: &Job) -> Result<Exit, Failure> {
    match (job.state, &job.error) {
        (JobState::Finished, _) => Ok(Exit::Ok),
        (JobState::Failed, Some(error)) => {
            let failure = Failure::new(Exit::Failed, "job-failed", format!("{} failed: {error}", job.id));
            Err(failure.hint(format!("see its last lines with `flowctl logs {} --tail 20`", job.id)))
        }
        (JobState::Canceled, Some(why)) => {
            Err(Failure::new(Exit::Failed, "job-not-finished", format!("{} is canceled: {why}", job.id)))
        }
        (state, _) => Err(Failure::new(Exit::Failed, "job-not-finished", format!("{} is {state}", job.id))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use serde_json::{Value, json};

    use super::*;
    use crate::output::Format;
    use crate::server::Target;

    #[test]
    fn the_spinner_can_be_drawn() {
        ProgressBar::hidden().with_style(style()).tick();
    }

    /// A server that says these, one after the other, and the last one again and again; to who asks how it is, that it is a cluster's.
    fn server(answers: Vec<(u16, Value)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        thread::spawn(move || {
            let mut answers = answers.into_iter().peekable();
            for mut client in listener.incoming().flatten() {
                let (mut head, mut reader) = (String::new(), BufReader::new(client.try_clone().expect("a socket")));
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("text") > 0 {}
                let (status, answer) = if head.starts_with("GET /healthz ") {
                    (200, json!({"status": "ok", "version": "0.1.0", "cluster": true}))
                } else {
                    let answer = answers.peek().cloned().expect("one is left");
                    if answers.len() > 1 {
                        answers.next();
                    }
                    answer
                };
                let answer = answer.to_string();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", answer.len());
                write!(client, "{head}content-type: application/json\r\n\r\n{answer}").expect("it reads");
            }
        });
        Server::new(Target::of(&url), false).expect("an address")
    }

    fn described(state: &str) -> (u16, Value) {
        let description = json!({
            "id": "a-000001", "name": "a", "state": state, "submitted": 0, "now": 1, "operators": [], "warnings": [],
            "plan": {"pipeline": "a", "key-groups": 128, "tasks": [], "exchanges": []},
        });
        (200, description)
    }

    fn nobody_leads() -> (u16, Value) {
        (503, json!({"code": "unavailable", "message": "no coordinator leads the cluster now", "diagnostics": []}))
    }

    fn job() -> Job {
        let job = json!({"id": "a-000001", "name": "a", "state": "running", "submitted": 0});
        serde_json::from_value(job).expect("a job")
    }

    /// How it ends to wait for the job's end, by who has so much patience.
    fn waited(server: &Server, patience: Duration) -> Result<JobState, (Exit, String, String)> {
        let output = Output::new(Format::Table);
        let mut job = job();
        let ended = Waiting::new(server, &output, patience).until(|waiting| {
            let now: Description = waiting.ask(&job, "/jobs/a-000001")?;
            let what = standing(&now);
            job = now.job;
            Ok(if job.state.is_terminal() { ControlFlow::Break(job.state) } else { ControlFlow::Continue(what) })
        });
        ended.map_err(|failure| (failure.exit, failure.message, failure.hint.unwrap_or_default()))
    }

    #[test]
    fn a_server_that_can_not_answer_for_a_while_ends_no_wait() {
        assert!(GIVE_UP >= Duration::from_secs(60));
        let server = server(vec![described("running"), nobody_leads(), described("restarting"), described("finished")]);
        assert_eq!(waited(&server, GIVE_UP), Ok(JobState::Finished));
    }

    #[test]
    fn who_has_waited_long_enough_is_told_how_it_stands() {
        let patience = Duration::from_millis(50);
        let away = server(vec![described("running"), nobody_leads()]);
        let (exit, message, hint) = waited(&away, patience).expect_err("nobody leads");
        let expect = format!(
            "the server at {} answers, and can't tell of its jobs; a-000001 was running when it last told of it (no coordinator leads the \
             cluster now)",
            away.url()
        );
        assert_eq!((exit, message), (Exit::Unreachable, expect));
        assert!(hint.contains("ask another one with --server") && !hint.contains("flowctl deploy"), "{hint}");

        let unknown = (404, json!({"code": "not-found", "message": "no job", "diagnostics": []}));
        let anew = server(vec![described("running"), unknown]);
        let (exit, message, hint) = waited(&anew, patience).expect_err("nobody knows it");
        assert_eq!(exit, Exit::Unreachable);
        assert!(message.contains(" does not know the job any more, since another coordinator leads; a-"), "{message}");
        assert!(!hint.contains("flowctl deploy"), "{hint}");

        let output = Output::new(Format::Table);
        let unreachable = || Failure::new(Exit::Unreachable, "unreachable", "nobody listens there");
        let mut waiting = Waiting::new(&anew, &output, patience);
        let lost = waiting.lost(&job(), unreachable());
        assert!(lost.message.contains(" can't be reached any more; a-000001 was running"), "{}", lost.message);
        waiting.is_cluster = Some(false);
        let hint = waiting.lost(&job(), unreachable()).hint.unwrap_or_default();
        assert!(hint.ends_with("`flowctl deploy` starts the others"), "{hint}");
    }

    #[test]
    fn how_a_job_stands() {
        let check = |state: &str, error: Option<&str>, waits: Option<&str>, expect: &str| {
            let (_, mut now) = described(state);
            error.into_iter().for_each(|error| now["error"] = error.into());
            waits.into_iter().for_each(|waits| now["waits-for"] = waits.into());
            assert_eq!(standing(&serde_json::from_value(now).expect("a description")), expect);
        };
        let slots = "needs 6 slots and 5 are free";
        check("running", Some("no disk"), None, "a-000001 is running");
        check("restarting", Some("no disk"), None, "a-000001 is restarting: no disk");
        check(
            "restarting",
            Some("waits: it needs 6 slots and 5 are free"),
            Some(slots),
            "a-000001 is restarting, and waits: it needs 6 slots and 5 are free",
        );
    }
}
