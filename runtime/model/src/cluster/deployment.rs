//! What a job was deployed with: what a leader has to know beside the job's HEAD to let it go on. One document for each revision;
//! which of them counts HEAD says. It is written before HEAD names it and never changed, so that no two documents have to change
//! together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Error;
use crate::checkpoint::head::FIRST;
use crate::checkpoint::manifest::read;
use crate::diagnostic;
use crate::ids::{Digest, JobId, OperatorName, PipelineName};
use crate::outline::Findings;
use crate::spec::Pipeline;
use crate::start::{Begun, Start};

/// The format that is written and read.
const FORMAT: u64 = 1;

/// Below this prefix of the cluster's root are the deployments of all jobs.
pub const JOBS: &str = "jobs/";

/// Below this prefix of the cluster's root are the deployments of a job, and what its user wants of it.
pub fn folder(job: &JobId) -> String {
    format!("{JOBS}{job}/")
}

/// The name of a deployment below the cluster's root.
pub fn name(job: &JobId, revision: u64) -> String {
    format!("{}{revision}.json", folder(job))
}

/// The job of what lies directly in its folder, and the name that it has there; none if it lies elsewhere.
pub fn beside(name: &str) -> Option<(JobId, &str)> {
    let (job, file) = name.strip_prefix(JOBS)?.split_once('/')?;
    (!file.contains('/')).then_some((JobId::new(job).ok()?, file))
}

/// The job and the revision of a deployment of that name; none if it is no such name.
pub fn of_name(name: &str) -> Option<(JobId, u64)> {
    let (job, file) = beside(name)?;
    let found = (job, file.strip_suffix(".json")?.parse().ok()?);
    (self::name(&found.0, found.1) == name).then_some(found)
}

/// Below this prefix of the cluster's root are the components of all jobs.
pub const COMPONENTS: &str = "components/";

/// The name of a component below the cluster's root.
pub fn component(digest: &Digest) -> String {
    format!("{COMPONENTS}{digest}.wasm")
}

/// The digest of a component of that name; none if it is no such name.
pub fn of_component(name: &str) -> Option<Digest> {
    Digest::try_from(name.strip_prefix(COMPONENTS)?.strip_suffix(".wasm")?.to_owned()).ok()
}

/// What a job was deployed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deployment {
    format: u64,
    /// The job's id, never used twice.
    pub job: JobId,
    /// Its name, which may differ from that in its pipeline file.
    pub name: PipelineName,
    /// Counts up with each change of its parallelism.
    pub revision: u64,
    /// When it was submitted, milliseconds since the Unix epoch.
    pub submitted: u64,
    /// The life that it is.
    #[serde(flatten)]
    pub begun: Begun,
    /// How its user wanted it to begin.
    #[serde(default)]
    pub start: Start,
    /// The root of its HEAD and its checkpoints, as it was resolved when it was deployed: `s3://bucket/flow/orders`.
    pub root: String,
    /// The name of its pipeline file, for messages.
    pub file: String,
    /// The text of that file.
    pub text: String,
    /// Where relative paths of sources and sinks start from, on each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The component of each operator.
    pub components: BTreeMap<OperatorName, Digest>,
    /// What a worker has found its components to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
    /// Operators, sources and sinks whose parallelism is another one than the file says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parallelism: BTreeMap<OperatorName, u32>,
}

/// What of a deployment does not follow from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The job's id.
    pub job: JobId,
    /// Its name.
    pub name: PipelineName,
    /// When it was submitted, milliseconds since the Unix epoch.
    pub submitted: u64,
    /// The root of its HEAD and its checkpoints.
    pub root: String,
}

impl Deployment {
    /// The first revision of a job whose pipeline file has that name and text.
    pub fn new(identity: Identity, (file, text): (String, String)) -> Deployment {
        let Identity { job, name, submitted, root } = identity;
        Deployment {
            format: FORMAT,
            job,
            name,
            revision: FIRST,
            submitted,
            begun: Begun::default(),
            start: Start::default(),
            root,
            file,
            text,
            directory: None,
            components: BTreeMap::new(),
            findings: None,
            parallelism: BTreeMap::new(),
        }
    }

    /// A later revision, in which these have another parallelism.
    pub fn scaled(&self, parallelism: impl IntoIterator<Item = (OperatorName, u32)>, revision: u64) -> Deployment {
        let mut next = self.clone();
        next.revision = revision;
        next.findings = None;
        next.parallelism.extend(parallelism);
        next
    }

    /// The pipeline as it runs.
    ///
    /// # Errors
    /// The text is no pipeline file.
    pub fn pipeline(&self) -> Result<Pipeline, diagnostic::Error> {
        let mut pipeline = Pipeline::parse(&self.file, self.text.as_bytes())?;
        pipeline.name = self.name.clone();
        pipeline.scale(&self.parallelism)?;
        if let Some(directory) = &self.directory {
            pipeline.resolve_data_paths(directory);
        }
        Ok(pipeline)
    }

    /// Its name below the cluster's root.
    pub fn document(&self) -> String {
        name(&self.job, self.revision)
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("all keys are texts")
    }

    /// From what is stored.
    ///
    /// # Errors
    /// [`Error::Format`] for one of a future version, [`Error::Document`] for what is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Deployment, Error> {
        read(bytes, "the deployment of a job", FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_read_as_it_was_written() {
        let identity = Identity {
            job: JobId::new("orders-3f9a2c").expect("a name"),
            name: PipelineName::new("orders").expect("a name"),
            submitted: 1,
            root: "s3://bucket/flow/orders".to_owned(),
        };
        let first = Deployment::new(identity, ("orders.yaml".to_owned(), "text".to_owned()));
        let scaled = first.scaled([(OperatorName::new("totals").expect("a name"), 8)], 2);
        assert_eq!((scaled.revision, scaled.document().as_str()), (2, "jobs/orders-3f9a2c/2.json"));
        assert_eq!(Deployment::from_bytes(&scaled.to_bytes()), Ok(scaled.clone()));
        assert_eq!(of_name(&scaled.document()), Some((scaled.job.clone(), 2)));
        for other in ["jobs/orders/02.json", "jobs/orders/2", "jobs/2.json", "jobs/a/b/2.json", "other/a/2.json"] {
            assert_eq!(of_name(other), None, "{other}");
        }
        assert_eq!(beside("jobs/orders-3f9a2c/canceled"), Some((scaled.job, "canceled")));
        for other in ["jobs/canceled", "jobs/a/b/canceled", "other/a/canceled"] {
            assert_eq!(beside(other), None, "{other}");
        }
    }
}
