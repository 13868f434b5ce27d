//! Where the files sinks of a pipeline write, for who asks before anything starts. Must never change anything there.

use std::path::PathBuf;

use flow_model::diagnostic::{Code, Diagnostic};
use flow_model::spec::{FilesSink, Pipeline, Sink, SinkConnector};

use crate::Error;
use crate::files::OutputDirectory;
use crate::paths::meant;
use crate::secrets::Place;

/// The files sinks, each with its directory.
fn directories(pipeline: &Pipeline) -> impl Iterator<Item = (&Sink, &FilesSink, Result<PathBuf, Diagnostic>)> {
    pipeline.sinks.iter().filter_map(|sink| {
        let SinkConnector::Files(files) = &sink.connector else { return None };
        let what = format!("sink \"{}\"", sink.name);
        let place = Place { file: &pipeline.file, directory: &pipeline.directory, what: &what };
        Some((sink, files, place.path(&files.path)))
    })
}

/// What is wrong with the first sink that writes to the directory of another one, whose parts have the same names. One within the other is
/// none of that. What can't be looked up now the start says.
pub(crate) fn shared(pipeline: &Pipeline) -> Option<Diagnostic> {
    let mut known: Vec<(&Sink, PathBuf)> = Vec::new();
    for (sink, files, path) in directories(pipeline) {
        let Ok(path) = path else { continue };
        let real = meant(&path);
        if let Some((first, _)) = known.iter().find(|(_, known)| *known == real) {
            let message = format!("sinks \"{}\" and \"{}\" both write to {}", first.name, sink.name, path.display());
            let diagnostic = Diagnostic::error(Code::Connector, &pipeline.file, files.path.position, message);
            return Some(diagnostic.hint("give each a directory of its own"));
        }
        known.push((sink, real));
    }
    None
}

/// Whether what the sinks of a pipeline write to may be written by a job that begins with nothing. It looks, and changes nothing.
///
/// # Errors
/// [`Error::Output`] if a directory holds the output of a former run; others if that can't be told.
pub fn check_outputs(pipeline: &Pipeline) -> Result<(), Error> {
    for (sink, _, path) in directories(pipeline) {
        let path = path.map_err(|error| Error::Pipeline(error.into()))?;
        let former = OutputDirectory::former(&path).map_err(|error| Error::Connector(sink.name.clone(), error))?;
        if let Some(error) = former {
            return Err(Error::Output(sink.name.clone(), error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_sinks_have_one_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("out")).expect("made");
        std::os::unix::fs::symlink("out", directory.path().join("link")).expect("linked");
        let check = |one: &str, other: &str, expect: Option<&str>| {
            let text = format!(
                "apiVersion: flow/v1\nkind: Pipeline\nmetadata: {{name: p}}\nsources:\n  in: {{generator: {{count: 1}}}}\nsinks:\n  \
                 a: {{files: {{path: '{one}'}}, from: in}}\n  b: {{files: {{path: '{other}'}}, from: in}}\n"
            );
            let mut pipeline = Pipeline::parse("p.yaml", text.as_bytes()).expect("a good pipeline");
            pipeline.resolve_paths(directory.path());
            let found = shared(&pipeline).map(|diagnostic| diagnostic.to_string());
            let expect = expect.map(|path| {
                let path = directory.path().join(path);
                format!(
                    "p.yaml:8:21: sinks \"a\" and \"b\" both write to {}; give each a directory of its own",
                    path.display()
                )
            });
            assert_eq!(found, expect, "{one} {other}");
        };
        check("out", "out", Some("out"));
        check("out", "./gone/../out/", Some("out"));
        check("out", "link", Some("link"));
        check("new", "new", Some("new"));
        check("out", "out/inside", None);
        check("out", "${env:FLOW_TEST_OF_NO_SUCH_VARIABLE}", None);
        check("${env:FLOW_TEST_OF_NO_SUCH_VARIABLE}", "out", None);
    }
}
