//! What stands on disk of a job while it runs, so that after a restart flowd can say what ran when it was killed. Of a job
//! with checkpoints also what it takes to let it go on: where it goes on, its HEAD in the store says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flow_model::diagnostic::Diagnostic;
use flow_model::ids::{JobId, OperatorName, PipelineName};
use flow_model::plan::Plan;
use flow_model::start::{Begun, Start};
use flow_protocol::job::Beginning;
use serde::{Deserialize, Serialize};

use super::beginning::{begun, life, owed};
use crate::submission::Submission;
use crate::whole;

/// In the job's directory.
const FILE: &str = "running.json";

/// A job that runs, or ran when its process ended.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    pub id: JobId,
    pub name: PipelineName,
    /// Milliseconds since the Unix epoch.
    pub submitted: u64,
    /// The command that deploys it again; none if it is not known where its file lies.
    pub command: Option<String>,
    pub plan: Plan,
    pub warnings: Vec<Diagnostic>,
    /// Of a job with checkpoints: what it takes to let it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What it takes to let a job with checkpoints go on, beside its pipeline file and its components, which lie in its directory too.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// The life of the job.
    #[serde(flatten)]
    begun: Begun,
    /// As [`Submission::start`].
    #[serde(default)]
    start: Start,
    /// As [`Submission::file`].
    file: String,
    /// As [`Submission::directory`].
    directory: Option<PathBuf>,
    /// As [`Submission::name`].
    job: Option<PipelineName>,
    /// As [`Submission::parallelism`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parallelism: BTreeMap<OperatorName, u32>,
    /// The number of the file of each component, by what it was handed in as.
    components: BTreeMap<String, usize>,
}

impl Kept {
    /// Of what was handed in, and of how it begins.
    pub fn new(beginning: &Beginning, submission: &Submission) -> Kept {
        let Submission { file, components, name, directory, start, parallelism, .. } = submission;
        let (start, parallelism) = (start.clone(), parallelism.clone());
        let numbers = distinct(components);
        let components = components.iter().map(|(key, bytes)| (key.clone(), numbers[&bytes.as_ptr()])).collect();
        let directory = directory.clone().or_else(|| std::env::current_dir().ok());
        let (begun, file, job) = (begun(beginning), file.clone(), name.clone());
        Kept { begun, start, file, directory, job, parallelism, components }
    }

    /// How it goes on in another process.
    fn beginning(&self) -> Beginning {
        life(&self.begun, &self.start).map_or_else(|| Beginning::Settled(owed(&self.start)), Beginning::Resumed)
    }
}

/// A number for each component that lies in memory of its own.
fn distinct(components: &BTreeMap<String, Bytes>) -> BTreeMap<*const u8, usize> {
    let places: BTreeSet<*const u8> = components.values().map(|bytes| bytes.as_ptr()).collect();
    places.into_iter().enumerate().map(|(number, place)| (place, number)).collect()
}

/// The file of a component in the job's directory.
fn component(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("component-{number}.wasm"))
}

impl Record {
    /// Whether it goes on after its process has ended.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// What was handed in, and how the job goes on; it is read from the job's directory.
    pub fn submission(&self, directory: &Path) -> io::Result<(Submission, Beginning)> {
        let Some(kept) = &self.kept else { return Err(io::Error::other("it has no checkpoints")) };
        let read = |path: PathBuf| {
            fs::read(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let mut files: BTreeMap<usize, Bytes> = BTreeMap::new();
        let mut components = BTreeMap::new();
        for (key, number) in &kept.components {
            let bytes = match files.get(number) {
                Some(bytes) => bytes.clone(),
                None => read(component(directory, *number))?.into(),
            };
            files.insert(*number, bytes.clone());
            components.insert(key.clone(), bytes);
        }
        let (file, name) = (kept.file.clone(), kept.job.clone());
        let text = read(directory.join("pipeline.yaml"))?;
        // What it began with HEAD says from then on.
        let (directory, start, parallelism) = (kept.directory.clone(), kept.start.clone(), kept.parallelism.clone());
        let submission = Submission { file, text, components, name, directory, start, parallelism };
        Ok((submission, kept.beginning()))
    }

    /// Writes it into the job's directory, with the components if it is kept, to stay there whatever happens to this process.
    pub fn write(&self, directory: &Path, components: &BTreeMap<String, Bytes>) -> io::Result<()> {
        if self.is_kept() {
            let numbers = distinct(components);
            for bytes in components.values() {
                fs::write(component(directory, numbers[&bytes.as_ptr()]), bytes)?;
            }
        }
        whole::write(&directory.join(FILE), &serde_json::to_vec(self)?)
    }

    /// Why a job that is found in a record does not run.
    pub fn loss(&self) -> String {
        let next = match &self.command {
            Some(command) => format!("deploy it again with `{command}`"),
            None => "deploy it again".to_owned(),
        };
        format!(
            "flowd ended while the job ran (it was stopped or killed, or its machine was); the job was not resumed: {next}"
        )
    }
}

/// The job of this directory has ended.
pub fn remove(directory: &Path) {
    // Should it stay, the job is told as lost after the next start, which is better than the other way round.
    if let Err(error) = fs::remove_file(directory.join(FILE)) {
        tracing::warn!(directory = %directory.display(), "the record of a job that has ended stays behind: {error}");
    }
}

/// Whether the job of this directory is to go on, or to be told of, when its process has ended.
pub fn is_there(directory: &Path) -> bool {
    directory.join(FILE).exists()
}

/// A job whose record can't be read.
pub struct Unread {
    pub id: JobId,
    pub name: PipelineName,
    /// For people: why, and what to do.
    pub loss: String,
}

/// The jobs that have a record in a directory of `jobs`, in the order of their submission, and those of which it can't be read.
pub fn read_all(jobs: &Path) -> (Vec<Record>, Vec<Unread>) {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for entry in jobs.read_dir().into_iter().flatten().flatten() {
        let path = entry.path().join(FILE);
        let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<Record>(&text)?));
        match read {
            Ok(record) => found.push(record),
            // The job had ended, or it is none.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            // It was harmed, or is of another version.
            Err(error) => unread.extend(Unread::of(&entry.path(), &path, &error)),
        }
    }
    found.sort_by_key(|record| record.submitted);
    (found, unread)
}

impl Unread {
    fn of(directory: &Path, path: &Path, error: &io::Error) -> Option<Unread> {
        let id: JobId = directory.file_name()?.to_str()?.parse().ok()?;
        let name = super::id::name(&id)?;
        let loss = format!(
            "flowd ended while the job ran, and {} can't be read: {error}; deploy it again, if it took checkpoints with --take-over, which \
             goes on where it stands; {} is the file that it was deployed with",
            path.display(),
            directory.join("pipeline.yaml").display()
        );
        Some(Unread { id, name, loss })
    }
}

/// The command that deploys a submission, if its file lies where its paths start from. It is for a job without checkpoints, which
/// can begin with nothing: others go on by themselves.
pub fn command(submission: &Submission) -> Option<String> {
    let file = submission.directory.as_ref()?.join(Path::new(&submission.file).file_name()?);
    let name = submission.name.as_ref().map_or(String::new(), |name| format!(" --name {name}"));
    Some(format!("flowctl deploy {}{name}", quoted(file.to_str()?)))
}

/// As a shell reads it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use flow_model::checkpoint::{CheckpointId, Incarnation};
    use flow_protocol::job::{Former, Life};

    use super::*;

    #[test]
    fn what_ran_is_found_and_what_is_cut_off_harms_nothing() {
        let jobs = tempfile::tempdir().expect("a directory");
        let text = "{apiVersion: flow/v1, kind: Pipeline, metadata: {name: p}, sources: {in: {generator: {count: 1}}}, \
                    sinks: {out: {blackhole: {}, from: in}}}";
        let pipeline = flow_model::spec::Pipeline::parse("p.yaml", text.as_bytes()).expect("a good pipeline");
        let plan = flow_model::plan::plan(&pipeline, &Default::default()).expect("a plan");
        let directory = |id: &str| {
            let directory = jobs.path().join(id);
            fs::create_dir(&directory).expect("a directory");
            directory
        };
        for (id, submitted) in [("p-000001", 2), ("p-000002", 1), ("p-000003", 3)] {
            let (plan, name) = (plan.clone(), "p".parse().expect("a name"));
            let id: JobId = id.parse().expect("a name");
            let directory = directory(id.as_str());
            let record = Record { id, name, submitted, command: None, plan, warnings: Vec::new(), kept: None };
            record.write(&directory, &BTreeMap::new()).expect("it is written");
        }
        remove(&jobs.path().join("p-000003"));
        let whole = fs::read(jobs.path().join("p-000001").join(FILE)).expect("it is there");
        for (id, length) in [("p-000004", 0), ("p-000005", whole.len() / 2)] {
            fs::write(directory(id).join(FILE), &whole[..length]).expect("a file");
        }
        fs::write(jobs.path().join("a file"), "").expect("a file");
        let (found, unread) = read_all(jobs.path());
        let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, ["p-000002", "p-000001"]);
        let mut ids: Vec<&str> = unread.iter().map(|unread| unread.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["p-000004", "p-000005"]);
        assert!(unread.iter().all(|unread| unread.name.as_str() == "p" && unread.loss.contains(FILE)));
        assert!(read_all(&jobs.path().join("nowhere")).0.is_empty());
    }

    #[test]
    fn a_job_goes_on_by_what_it_was_deployed_with_whatever_wrote_that() {
        let former = Former { incarnation: Incarnation::of(1), latest: Some(CheckpointId::NONE) };
        let (follows, origin, owed) = (Some(former), None, flow_protocol::job::Owed::Write);
        let life = Life { incarnation: Incarnation::of(2), follows, origin, owed, take_over: true };
        let start = Start { take_over: true, ..Start::default() };
        let submission = Submission { file: "p.yaml".to_owned(), start, ..Submission::default() };
        let kept = Kept::new(&Beginning::Deployed(life), &submission);
        let mut json = serde_json::to_value(&kept).expect("it is JSON");
        let read = |json: &serde_json::Value| {
            let kept: Kept = serde_json::from_value(json.clone()).expect("it is a record");
            match kept.beginning() {
                Beginning::Resumed(life) if life.take_over => life.follows,
                other => panic!("{other:?}"),
            }
        };
        let follows = |latest| Some(Former { incarnation: Incarnation::of(1), latest });
        assert_eq!(read(&json), follows(Some(CheckpointId::NONE)));
        json.as_object_mut().and_then(|record| record.remove("latest")).expect("it is written");
        assert_eq!(read(&json), follows(None), "of an earlier version");
    }

    #[test]
    fn commands() {
        let check = |file: &str, directory: Option<&str>, name: Option<&str>, expect: Option<&str>| {
            let submission = Submission {
                file: file.to_owned(),
                directory: directory.map(Into::into),
                name: name.map(|name| name.parse().expect("a name")),
                ..Submission::default()
            };
            assert_eq!(command(&submission).as_deref(), expect);
        };
        check("../a/p.yaml", Some("/flows/a"), None, Some("flowctl deploy /flows/a/p.yaml"));
        check("p.yaml", Some("/my flows"), Some("b"), Some("flowctl deploy '/my flows/p.yaml' --name b"));
        check("it's.yaml", Some("/"), None, Some(r"flowctl deploy '/it'\''s.yaml'"));
        check("p.yaml", None, None, None);
        check("", Some("/"), None, None);
    }
}
