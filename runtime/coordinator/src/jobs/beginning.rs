//! What a job begins with: what was asked for, held against what the store has and what the pipeline wants. Decides before anything
//! is stopped, started or written; must never change anything.

use flow_model::checkpoint::head::{Origin, Savepoint};
use flow_model::checkpoint::matching::{self, Wanted};
use flow_model::checkpoint::{CheckpointId, Head, Incarnation, Manifest, ObjectName, head};
use flow_model::ids::{PipelineName, SavepointName};
use flow_model::outline::Outline;
use flow_model::start::{Begun, From, Start};
use flow_protocol::head::is_free;
use flow_protocol::job::{Beginning, Former, Life, Owed};
use flow_store::Store;

use crate::keeper::{self, documents};

/// Why a job can't begin like this.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is in the store can't be read.
    #[error(transparent)]
    Keep(#[from] keeper::Error),
    /// There is no such thing to begin with.
    #[error("{0}")]
    Unknown(String),
    /// Where it begins and what the pipeline wants do not fit. Has a line for each difference.
    #[error("{what} does not fit the pipeline:\n{differences}")]
    Unfit {
        /// What it was to begin with.
        what: String,
        /// What does not fit.
        differences: matching::Error,
    },
    /// What it would do has to be asked for.
    #[error("{0}")]
    Refused(String),
    /// It begins with nothing, and what it is to write to holds the output of a former run, or can't be looked at.
    #[error("{error}")]
    Output {
        /// Which sink, where, and why.
        error: Box<flow_worker::Error>,
        /// That output may be its own: what it would go on with.
        last: Option<From>,
    },
    /// What was asked for does not go together.
    #[error(transparent)]
    Start(#[from] flow_model::start::Error),
    /// The pipeline takes no checkpoints.
    #[error(
        "a pipeline without checkpoints begins with none; write `checkpoint: {{interval: 10s}}` into its pipeline file"
    )]
    NoCheckpoints,
    /// It would be lost with the first worker that fails.
    #[error(
        "a cluster runs jobs with checkpoints only, since workers come and go; write `checkpoint: {{interval: 10s}}` into the \
         pipeline file"
    )]
    WithoutCheckpoints,
}

/// What becomes of output that a former life of the job owes.
pub(super) fn owed(start: &Start) -> Owed {
    match start {
        Start { abandon_output: true, .. } => Owed::Abandon,
        Start { reset_progress: true, .. } => Owed::WriteAnew,
        _ => Owed::Write,
    }
}

/// The life of a job that an earlier process ran; none if it only writes what a former one owes.
pub(super) fn life(begun: &Begun, start: &Start) -> Option<Life> {
    let Begun { incarnation, follows, latest, origin } = begun.clone();
    let follows = follows.map(|incarnation| Former { incarnation, latest });
    Some(Life { incarnation: incarnation?, follows, origin, owed: owed(start), take_over: start.take_over })
}

/// What a process that comes after has to know of how a job began.
pub(super) fn begun(beginning: &Beginning) -> Begun {
    match beginning {
        Beginning::Deployed(life) | Beginning::Resumed(life) | Beginning::Continued(life) => Begun {
            incarnation: Some(life.incarnation.clone()),
            follows: life.follows.as_ref().map(|former| former.incarnation.clone()),
            latest: life.follows.as_ref().and_then(|former| former.latest),
            origin: life.origin.clone(),
        },
        Beginning::Settled(_) => Begun::default(),
    }
}

/// How a job of that name begins, in the store where all jobs have their roots. `here` is how HEAD names this process, if that does
/// not run the job; `outputs` whether what it writes to is looked at here.
///
/// # Errors
/// All of [`Error`].
pub(super) fn beginning(
    outline: &Outline,
    root: &Store,
    start: &Start,
    (here, outputs): (Option<&str>, bool),
) -> Result<Beginning, Error> {
    start.check()?;
    let name = &outline.pipeline().name;
    if start.settle.is_some() {
        return Ok(Beginning::Settled(owed(start)));
    }
    let mine = read_head(root, name)?;
    if let Some(head) = &mine.1
        && !(is_free(head) || start.take_over)
        && here == Some(head.leader.as_str())
    {
        return Err(Error::Refused(format!(
            "HEAD says that \"{name}\" is run by {}, which is this process, and it does not run here: it has ended without telling \
             its store. Unless another flowd with this address runs it, go on where it stands: deploy it with --take-over",
            head.leader
        )));
    }
    let follows = mine.1.as_ref().map(Former::of);
    let last = mine.1.as_ref().and_then(|head| last(head, name, name));
    // While another process runs it, what it writes is in nobody's way.
    let is_free = start.take_over || mine.1.as_ref().is_none_or(is_free);
    let new = |origin| Life {
        incarnation: keeper::incarnation(),
        follows,
        origin,
        owed: owed(start),
        take_over: start.take_over,
    };
    let origin = match &start.from {
        Some(from) => Some(origin(outline, root, mine, (from, start))?),
        None if start.take_over => taken_over(outline, root, mine, start)?,
        None => None,
    };
    if outputs && origin.is_none() && is_free {
        flow_worker::check_outputs(outline.pipeline())
            .map_err(|error| Error::Output { error: Box::new(error), last })?;
    }
    Ok(Beginning::Deployed(new(origin)))
}

/// Where the life stands that HEAD says another process runs. What takes it over is another life: should that process come back, it finds
/// that its own is over.
fn taken_over(
    outline: &Outline,
    root: &Store,
    mine: (Store, Option<Head>),
    start: &Start,
) -> Result<Option<Origin>, Error> {
    let name = &outline.pipeline().name;
    let (store, head) = known(root, name, mine)?;
    if is_free(&head) {
        let next = match last(&head, name, name) {
            Some(last) => format!("to go on where it ended: {}", last.flag()),
            None => "leave --take-over out".to_owned(),
        };
        return Err(Error::Refused(format!("nobody runs \"{name}\": there is nothing to take over; {next}")));
    }
    let Head { incarnation, origin, .. } = head;
    // It had not taken over yet what it was to begin with.
    let Some(checkpoint) = head.latest else { return Ok(origin) };
    let what = format!("checkpoint {checkpoint} of \"{name}\"");
    fits(outline, &manifest(&store, &incarnation, checkpoint)?, start, what)?;
    Ok(Some(Origin { job: name.clone(), incarnation, checkpoint, savepoint: None, claim: true, dropped: Vec::new() }))
}

fn origin(
    outline: &Outline,
    root: &Store,
    mine: (Store, Option<Head>),
    (from, start): (&From, &Start),
) -> Result<Origin, Error> {
    let name = &outline.pipeline().name;
    let job = from.job().unwrap_or(name);
    let is_mine = job == name;
    let (store, head) = known(root, job, if is_mine { mine } else { read_head(root, job)? })?;
    let (incarnation, checkpoint, what) = match from {
        From::Savepoint { name: savepoint, .. } => {
            let found = head.savepoint(savepoint).ok_or_else(|| no_savepoint(job, savepoint, &head))?;
            (&found.incarnation, found.checkpoint, format!("savepoint \"{savepoint}\" of \"{job}\""))
        }
        From::Checkpoint { id, .. } => {
            let checkpoint = retained(job, name, *id, &head)?;
            if !(is_free(&head) || is_mine && start.take_over) {
                let gone = if is_mine { "deploy with --take-over" } else { "deploy that job with --take-over" };
                return Err(Error::Refused(format!(
                    "\"{job}\" is running, by {}: stop it first, or take a savepoint to begin with: flowctl savepoint create \
                     {job}; if that process is gone for good, or the job ended without telling its store: {gone}",
                    head.leader
                )));
            }
            if head.unwritten && !is_mine {
                return Err(Error::Refused(format!(
                    "output of \"{job}\" is confirmed and not all written; write it first: flowctl sink settle FILE"
                )));
            }
            (&head.incarnation, checkpoint, format!("checkpoint {checkpoint} of \"{job}\""))
        }
    };
    if start.claim && !is_mine {
        return Err(Error::Refused(format!("{what} can't be claimed by another job; leave --claim out: it is copied")));
    }
    let found = manifest(&store, incarnation, checkpoint)?;
    if is_mine && !start.allow_repeat && !is_last(&found, &head, &store)? {
        return Err(Error::Refused(format!(
            "\"{job}\" went on after {what}: what it has written since is written again; if that is meant: --allow-repeat"
        )));
    }
    fits(outline, &found, start, what)?;
    let (incarnation, dropped) = (incarnation.clone(), start.drop_state.clone());
    let savepoint = match from {
        From::Savepoint { name, .. } => Some(name.clone()),
        From::Checkpoint { .. } => None,
    };
    Ok(Origin { job: job.clone(), incarnation, checkpoint, savepoint, claim: start.claim, dropped })
}

/// What goes on where a job ended, for who deploys `mine`: what its last life was to begin with, or the last one that came to something has
/// left, if that life ended before its first checkpoint. None if it never had one.
fn last(head: &Head, job: &PipelineName, mine: &PipelineName) -> Option<From> {
    let of = |other: &PipelineName| (other != mine).then(|| other.clone());
    if head.latest.is_some() {
        return Some(From::Checkpoint { job: of(job), id: None });
    }
    let from_savepoint = |found: &Savepoint| From::Savepoint { job: of(job), name: found.name.clone() };
    let origin = head.origin.as_ref();
    if let Some(origin) = origin.filter(|origin| origin.job != *job) {
        // Its checkpoints may be those of another life by now, which have the same ids.
        let savepoint = origin.savepoint.clone().map(|name| From::Savepoint { job: of(&origin.job), name });
        return savepoint.or_else(|| previous(head).map(from_savepoint));
    }
    let origin = origin.map(|origin| (&origin.incarnation, origin.checkpoint));
    let is_origin = |known: &&Savepoint| origin == Some((&known.incarnation, known.checkpoint));
    head.savepoints.iter().find(is_origin).or_else(|| previous(head)).map(from_savepoint)
}

/// The last checkpoint of the last life before this one that had any.
fn previous(head: &Head) -> Option<&Savepoint> {
    head.savepoints.iter().find(|savepoint| savepoint.name.as_str() == head::PREVIOUS)
}

/// Whether a job has written nothing after a checkpoint of it. There may be later ones, of a job that had nothing to read. And a life
/// that followed may have failed before it took any of its own, whatever it began with.
fn is_last(found: &Manifest, head: &Head, store: &Store) -> Result<bool, Error> {
    match head.latest {
        Some(latest) if found.incarnation == head.incarnation => {
            Ok(latest == found.checkpoint || manifest(store, &head.incarnation, latest)?.has_read_as_much_as(found))
        }
        None | Some(CheckpointId::ADOPTED) => {
            let found = Some((&found.incarnation, found.checkpoint));
            let origin = head.origin.as_ref().map(|origin| (&origin.incarnation, origin.checkpoint));
            let previous = previous(head).map(|known| (&known.incarnation, known.checkpoint));
            Ok(origin == found || previous == found)
        }
        Some(_) => Ok(false),
    }
}

fn retained(
    job: &PipelineName,
    mine: &PipelineName,
    id: Option<CheckpointId>,
    head: &Head,
) -> Result<CheckpointId, Error> {
    let Some(id) = id else {
        let none = || match last(head, job, mine) {
            Some(last) => format!(
                "the last life of \"{job}\" has no checkpoint; to begin with what there was before it: {}",
                last.flag()
            ),
            None => format!("\"{job}\" has no checkpoint yet; leave --from-checkpoint out to begin with nothing"),
        };
        return head.latest.ok_or_else(|| Error::Unknown(none()));
    };
    if head.retained.contains(&id) {
        return Ok(id);
    }
    let all = listed(head.retained.iter().rev());
    Err(Error::Unknown(format!("\"{job}\" retains no checkpoint {id}; those that it does: {all}")))
}

fn no_savepoint(job: &PipelineName, name: &SavepointName, head: &Head) -> Error {
    let all = listed(head.savepoints.iter().rev().map(|savepoint| &savepoint.name));
    Error::Unknown(format!("\"{job}\" has no savepoint \"{name}\"; those that it has: {all}"))
}

fn listed<T: ToString>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<String> = all.map(|one| one.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// A job's root, and its HEAD if there is one.
fn read_head(root: &Store, job: &PipelineName) -> Result<(Store, Option<Head>), Error> {
    let store = root.below(job.as_str()).map_err(keeper::Error::from)?;
    let head = documents::in_time(&store, documents::read_head(&store))?.map(|(head, _)| head);
    Ok((store, head))
}

/// The same of a job that there has to be.
fn known(root: &Store, job: &PipelineName, (store, head): (Store, Option<Head>)) -> Result<(Store, Head), Error> {
    match head {
        Some(head) => Ok((store, head)),
        None => Err(Error::Unknown(format!("there is no job \"{job}\" at {}: no {}", root.place(), head::NAME))),
    }
}

fn manifest(store: &Store, incarnation: &Incarnation, checkpoint: CheckpointId) -> Result<Manifest, Error> {
    Ok(documents::in_time(store, documents::load(store, &ObjectName::manifest(incarnation, checkpoint)))?)
}

/// Whether the pipeline takes what a checkpoint has, and the checkpoint has what the pipeline wants.
fn fits(outline: &Outline, manifest: &Manifest, start: &Start, what: String) -> Result<(), Error> {
    let pipeline = outline.pipeline();
    let sources = pipeline.sources.iter().map(|source| (&source.name, Some(flow_worker::reads(pipeline, source))));
    let operators = pipeline.operators.iter().map(|operator| (&operator.name, None));
    let wanted: Vec<Wanted<'_>> = sources
        .chain(operators)
        .map(|(name, reads)| Wanted { name: name.clone(), reads, states: outline.states(name) })
        .collect();
    matching::check(manifest, (&wanted, pipeline.key_groups), &start.drop_state, &start.new_state)
        .map_err(|differences| Error::Unfit { what, differences })
}
