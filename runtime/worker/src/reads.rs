//! What the sources of a pipeline read, for whoever holds the positions of a checkpoint against it. Opens nothing, asks nobody.

use std::path::Path;

use flow_model::checkpoint::matching::{Has, Reads};
use flow_model::checkpoint::snapshot::SplitKind;
use flow_model::spec::{self, Pipeline, SourceConnector};

use crate::files::covers;
use crate::kafka::configured;
use crate::paths::{meant, plain};
use crate::secrets::Place;

/// What a source of a pipeline reads. What can't be looked up now may be anything; the start says what is wrong with it.
pub fn reads<'a>(pipeline: &Pipeline, source: &'a spec::Source) -> Reads<'a> {
    let named = format!("source \"{}\"", source.name);
    let place = Place { file: &pipeline.file, directory: &pipeline.directory, what: &named };
    let anything = Box::new(|_: &str| true);
    let (kind, what, has): (_, _, Has<'a>) = match &source.connector {
        SourceConnector::Files(files) => {
            let what = format!("files of {}", files.path.value.display());
            match place.path(&files.path) {
                Ok(path) => {
                    let real = meant(&path);
                    // As it was spelled then, it may have been found by another way.
                    let has = move |split: &str| {
                        let split = plain(Path::new(split));
                        covers(&path, &split) || covers(&real, &meant(&split))
                    };
                    (SplitKind::Files, what, Box::new(has))
                }
                Err(_) => (SplitKind::Files, what, anything),
            }
        }
        SourceConnector::Generator(_) => (SplitKind::Generator, "a generator".to_owned(), anything),
        SourceConnector::Kafka(kafka) => match configured::topics(&kafka.topics, place) {
            Ok(topics) => {
                let what = format!("the Kafka topics {topics}");
                (SplitKind::Kafka, what, Box::new(move |split| topics.have_split(split)))
            }
            Err(_) => (SplitKind::Kafka, "Kafka topics".to_owned(), anything),
        },
    };
    Reads { kind, what, has }
}
