//! A pipeline file with the components that it names, read from disk: what `deploy` and a remote `check` send.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use flow_model::api::{Start, part};
use flow_model::diagnostic::{Code, Diagnostic};
use flow_model::ids::OperatorName;
use flow_model::quantity::ByteSize;
use flow_model::spec::{self, COMPONENT_MAX, Pipeline};

use crate::exit::Failure;
use crate::upload::{Field, Upload};

/// A pipeline ready to send.
pub struct Deployment {
    /// The pipeline file as the user named it.
    file: String,
    text: Vec<u8>,
    /// The directory of the pipeline file, absolute.
    directory: PathBuf,
    /// Content by the path that the file gives; an operator used twice is sent once.
    components: BTreeMap<String, Vec<u8>>,
    warnings: Vec<Diagnostic>,
    /// How many subtasks nodes have instead of what the file says.
    parallelism: BTreeMap<OperatorName, u32>,
}

impl Deployment {
    /// Reads the pipeline file and its components, which lie relative to it. What can be seen to be wrong without
    /// running anything is told now, before anything is sent.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let file = path.display().to_string();
        let text = File::open(path).and_then(spec::read_bounded).map_err(|error| {
            Failure::invalid(format!("can't read the pipeline file {file}: {error}"))
                .hint("give the path of a pipeline file (YAML)")
        })?;
        let pipeline = Pipeline::parse(&file, &text).map_err(|error| invalid(error.diagnostics))?;
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let directory = std::path::absolute(if directory.as_os_str().is_empty() { ".".into() } else { directory })
            .map_err(|error| Failure::failed(format!("can't tell where {file} is: {error}")))?;
        let components = read_components(&pipeline, &directory)?;
        let warnings = pipeline.warnings;
        Ok(Self { file, text, directory, components, warnings, parallelism: BTreeMap::new() })
    }

    /// What looks wrong and does not keep it from running.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The same with so many subtasks, whatever the file says.
    pub fn with_parallelism(self, parallelism: BTreeMap<OperatorName, u32>) -> Self {
        Self { parallelism, ..self }
    }

    /// The form to send; `name` replaces the pipeline's own, and it begins with what `start` says.
    pub fn upload(&self, name: Option<&str>, start: &Start, shows_progress: bool) -> Result<Upload, Failure> {
        let directory = self.directory.to_str().ok_or_else(|| {
            Failure::invalid(format!("the path {} is no valid text", self.directory.display()))
                .hint("rename the directory")
        })?;
        let start = if *start == Start::default() { None } else { Some(serde_json::to_vec(start)) };
        let start = start.transpose().map_err(Failure::failed)?;
        let parallelism = Some(&self.parallelism).filter(|all| !all.is_empty()).map(serde_json::to_vec);
        let parallelism = parallelism.transpose().map_err(Failure::failed)?;
        let mut fields = vec![
            Field { name: part::PIPELINE, file: Some(&self.file), bytes: &self.text },
            Field { name: part::DIRECTORY, file: None, bytes: directory.as_bytes() },
        ];
        fields.extend(name.map(|name| Field { name: part::NAME, file: None, bytes: name.as_bytes() }));
        fields.extend(start.iter().map(|start| Field { name: part::START, file: None, bytes: start }));
        fields.extend(parallelism.iter().map(|all| Field { name: part::PARALLELISM, file: None, bytes: all }));
        fields.extend(self.components.iter().map(|(path, bytes)| Field { name: path, file: Some(path), bytes }));
        Upload::new(&fields, shows_progress)
    }
}

fn read_components(pipeline: &Pipeline, directory: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut components = BTreeMap::new();
    let mut diagnostics = Vec::new();
    for operator in &pipeline.operators {
        let path = &operator.component.value;
        let shown = path.display().to_string();
        if components.contains_key(&shown) {
            continue;
        }
        match read_file(&directory.join(path)) {
            Ok(bytes) => _ = components.insert(shown, bytes),
            Err(error) => {
                let message = format!("can't read the component {shown} of operator \"{}\": {error}", operator.name);
                let place = directory.join(path);
                let hint = format!("build it: flowctl build DIR -o {}", place.display());
                let position = operator.component.position;
                diagnostics.push(Diagnostic::error(Code::Component, &pipeline.file, position, message).hint(hint));
            }
        }
    }
    if diagnostics.is_empty() { Ok(components) } else { Err(invalid(diagnostics)) }
}

/// All of a component's file; a device or a pipe may have no end.
pub fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if metadata.len() > COMPONENT_MAX {
        return Err(std::io::Error::other(format!("it is larger than {}", ByteSize(COMPONENT_MAX))));
    }
    std::fs::read(path)
}

/// The pipeline can't run for these reasons.
pub fn invalid(diagnostics: Vec<Diagnostic>) -> Failure {
    let errors = diagnostics.len();
    let message = format!("the pipeline has {errors} error{}", if errors == 1 { "" } else { "s" });
    Failure { diagnostics, ..Failure::invalid(message) }
}
