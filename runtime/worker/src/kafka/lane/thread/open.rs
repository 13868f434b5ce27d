//! What a transaction may have left open where the next one writes. A broker that is killed may forget to end one that counts as ended
//! ([why so](../../../../../docs/adr/0019-lanes.md)); the next commit of the same id would commit its records too. So before parts are written
//! that one may have written before, what is open there is aborted.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use flow_dataflow::lane::Outcome;
use flow_model::checkpoint::ObjectName;

use super::super::refused::DeadLetters;
use super::super::standing::Failed as ReadFailed;
use super::super::transaction::{Trouble, places};
use super::{End, Run};
use crate::kafka::opening::QUESTION;
use crate::kafka::raw::{describe, is_denied, is_unknown_topic};

/// What stays open though it was to be aborted so often is somebody else's.
const IN_VAIN: u32 = 3;

impl Run {
    /// Aborts what is open where these parts go, and all begins anew; nothing if there was nothing to do.
    pub(super) fn end_what_is_open(&mut self, parts: &[(ObjectName, Bytes)]) -> Result<Option<Outcome<()>>, End> {
        if self.unsure.is_none() || self.in_vain == IN_VAIN {
            return Ok(None);
        }
        // What is damaged the transaction tells of.
        let Ok(mut places) = places(parts) else { return Ok(None) };
        places.extend(self.dead_letters.iter().flat_map(DeadLetters::places));
        let open = match self.open_ends(places) {
            Ok(open) => open,
            Err(cause) => {
                self.rest(&format!("the ends of what it writes to: {cause}"))?;
                return Ok(Some(Outcome::Unknown));
            }
        };
        let Some((topic, partition)) = open.first() else { return Ok(None) };
        self.in_vain += 1;
        let text = self.named(&format!(
            "{topic:?}[{partition}] ({} partitions in all) ends with records that are neither committed nor aborted; a broker that \
             was killed may have left them of this lane: they are aborted",
            open.len()
        ));
        _ = self.shared.troubles.tell("open ends", &text);
        let (Some(current), shared) = (&mut self.current, &self.shared) else { return Ok(Some(Outcome::Unknown)) };
        match current.abort_in(&open, &|| shared.stopped.load(SeqCst)) {
            Ok(()) => Ok(Some(Outcome::Unknown)),
            Err(Trouble::Stopped) => Err(End::Stopped),
            Err(Trouble::Step(failed)) => self.outcome(failed).map(Some),
            // What can't be written there can't be left open there either.
            Err(_) => Ok(Some(Outcome::Unknown)),
        }
    }

    /// Those of the places that are there, and end with records that stay open.
    fn open_ends(&mut self, places: BTreeSet<(CString, i32)>) -> Result<Vec<(CString, i32)>, String> {
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
            Some(Err(ReadFailed::Passing(cause) | ReadFailed::Refused(cause))) => Err(cause),
        }
    }
}
