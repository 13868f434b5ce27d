//! What a transaction has left open, though it counts as ended: a broker that is killed may forget to write that down
//! ([why so](../../../../../docs/adr/0019-lanes.md)). The next transaction of the same id ends it, as it ends itself: so one that nobody was told
//! of is aborted before its parts are written anew, and one of which somebody was told that it is committed is committed.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use flow_dataflow::lane::{Lane, Outcome, Standing};
use flow_model::checkpoint::ObjectName;
use flow_model::checkpoint::snapshot::Progress;

use super::super::refused::DeadLetters;
use super::super::standing::Failed as ReadFailed;
use super::super::transaction::{Trouble, places};
use super::{End, Run};
use crate::kafka::opening::QUESTION;
use crate::kafka::raw::{describe, is_denied, is_unknown_topic};

/// What stays open though it was to be aborted so often is somebody else's.
const IN_VAIN: u32 = 3;
/// What can't be read so often in a row is not just late.
const STUCK: u32 = 2;

impl Run {
    /// Aborts what is open where these parts go, and all begins anew; nothing if there was nothing to do.
    pub(super) fn end_what_is_open(&mut self, parts: &[(ObjectName, Bytes)]) -> Result<Option<Outcome<()>>, End> {
        if self.unsure.is_none() || self.in_vain == IN_VAIN {
            return Ok(None);
        }
        // What is damaged the transaction tells of.
        let Ok(places) = places(parts) else { return Ok(None) };
        let open = match self.open_ends(places) {
            Ok(open) => open,
            Err(cause) => {
                self.rest(&format!("the ends of what it writes to: {cause}"))?;
                return Ok(Some(Outcome::Unknown));
            }
        };
        let Some((topic, partition)) = open.first() else { return Ok(None) };
        let text = self.named(&format!(
            "{topic:?}[{partition}] ({} partitions in all) ends with records that are neither committed nor aborted; a broker that \
             was killed may have left them of this lane: they are aborted",
            open.len()
        ));
        _ = self.shared.troubles.tell("open ends", &text);
        match self.abort(&open)? {
            Outcome::Done(()) => {
                self.in_vain += 1;
                Ok(Some(Outcome::Unknown))
            }
            failed => Ok(Some(failed)),
        }
    }

    /// Done when what was open there is aborted, or can't have been.
    fn abort(&mut self, open: &[(CString, i32)]) -> Result<Outcome<()>, End> {
        let (Some(current), shared) = (&mut self.current, &self.shared) else { return Ok(Outcome::Unknown) };
        match current.abort_in(open, &|| shared.stopped.load(SeqCst)) {
            Err(Trouble::Stopped) => Err(End::Stopped),
            Err(Trouble::Step(failed)) => self.outcome(failed),
            // What can't be written there can't be left open there either.
            Ok(()) | Err(_) => Ok(Outcome::Done(())),
        }
    }

    /// The progress can't be read to its end. If that stays so it is the lane's own, for nobody else writes there as long: what is known to
    /// be committed is committed once more, without its records; all else is aborted where it may have been written. Whatever
    /// comes of it, a new producer reads again.
    pub(super) fn get_past(&mut self) -> Result<Outcome<Standing>, End> {
        self.stuck += 1;
        if self.stuck <= STUCK {
            return Ok(Outcome::Unknown);
        }
        if self.fenced || self.current.is_none() {
            return Ok(Outcome::Fenced);
        }
        let written = self.reader.as_ref().and_then(|reader| reader.standing().progress);
        let (known, place) = (self.machine.known(), (self.topic.clone(), self.identity.index as i32));
        let text = self.named(&format!(
            "its progress in {:?}[{}] ends with a record that is neither committed nor aborted; a broker that was killed may have left \
             it: it is {}",
            place.0,
            place.1,
            if known > written { "committed, as was told before" } else { "aborted" }
        ));
        _ = self.shared.troubles.tell("open progress", &text);
        match known.filter(|known| Some(*known) > written) {
            Some(known) => {
                if let Outcome::Done(()) = self.commit(&[], &self.identity.progress(known))? {
                    // Its records are committed with those that come next, where they go.
                    self.unsure = None;
                }
            }
            None => {
                let mut all = match self.open_ends(self.places_after(written)?) {
                    Ok(open) => open,
                    Err(cause) => {
                        self.rest(&format!("the ends of what it writes to: {cause}"))?;
                        return Ok(Outcome::Fenced);
                    }
                };
                all.push(place);
                _ = self.abort(&all)?;
            }
        }
        Ok(Outcome::Fenced)
    }

    /// Where one transaction may have written what is not written.
    fn places_after(&self, written: Option<Progress>) -> Result<BTreeSet<(CString, i32)>, End> {
        let (mut all, mut bytes) = (BTreeSet::new(), 0);
        for part in self.machine.unwritten(written) {
            if bytes > Lane::most() {
                break;
            }
            bytes += part.chunk.length;
            // What can't be read is told of when it is to be written.
            if let Ok(content) = self.bytes(part, self.ask(part))? {
                all.extend(places(&[(part.chunk.object.clone(), content)]).unwrap_or_default());
            }
        }
        Ok(all)
    }

    /// Those of the places that are there, and end with records that stay open. Dead letters may have gone with what was for the places.
    fn open_ends(&mut self, mut places: BTreeSet<(CString, i32)>) -> Result<Vec<(CString, i32)>, String> {
        places.extend(self.dead_letters.iter().flat_map(DeadLetters::places));
        let topics: BTreeSet<CString> = places.iter().map(|(topic, _)| topic.clone()).collect();
        let topics: Vec<CString> = topics.into_iter().collect();
        let found = self.asker.describe(&topics, QUESTION).map_err(describe)?;
        let is_passing = |code: i32| code != 0 && !is_unknown_topic(code) && !is_denied(code);
        if let Some(passing) = found.iter().find(|topic| is_passing(topic.code)) {
            return Err(describe(passing.code));
        }
        let partitions = |name: &CString| found.iter().find(|topic| topic.name.as_bytes() == name.as_bytes());
        let is_there = |(topic, partition): &(CString, i32)| {
            partitions(topic).is_some_and(|topic| topic.code == 0 && (*partition as u32) < topic.partitions())
        };
        let there: Vec<_> = places.into_iter().filter(is_there).collect();
        let reader = self.reader.as_mut().filter(|_| !there.is_empty());
        match reader.map(|reader| reader.open_ends(&there)) {
            None => Ok(Vec::new()),
            Some(Ok(open)) => Ok(open),
            Some(Err(ReadFailed::Passing(cause) | ReadFailed::Refused(cause) | ReadFailed::Stuck(cause))) => Err(cause),
        }
    }
}
