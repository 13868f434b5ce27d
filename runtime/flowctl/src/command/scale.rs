//! `flowctl scale`: lets a job go on with more or fewer subtasks.

use std::ops::ControlFlow;

use flow_model::api::{Counters, Description, Job, JobState, Scale};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::parallelism::{self, OfJob};
use crate::server::Server;
use crate::wait;

/// Let a job go on with more or fewer subtasks
///
/// The job stops, and goes on with the state of its last checkpoint, which is spread over the subtasks that it has then. It needs as many slots
/// as its greatest parallelism; while there are too few it waits for some. What the pipeline file says does not change: the next
/// deployment begins with that again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl scale orders/counts=4
  flowctl scale orders/in=2 orders/counts=8 orders/out=2
  flowctl scale orders=4                     sources, operators and sinks
  flowctl scale orders=4 orders/out=1        all but one
  flowctl scale orders=4 --no-wait")]
pub struct Args {
    /// A source, operator or sink of a job, or all that it has, and how many subtasks that is to have
    #[arg(required = true, value_name = "JOB[/NODE]=N", value_parser = parallelism::of_job)]
    targets: Vec<OfJob>,

    /// Do not wait until the job runs so
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    pub remote: Remote,
}

/// Asks for it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let (job, scale) = parallelism::scale(&args.targets)?;
    let server = args.remote.server(output)?.patient();
    let mut job: Job = server.post_json(&format!("/jobs/{job}/scale"), &scale)?;
    if !args.no_wait {
        job = until_scaled(&server, job, &scale, output)?;
    }
    output.print_named(&job, || vec![job.id.to_string()], || format!("{} {}", job.id, job.state))?;
    if args.no_wait {
        output.note(&format!("`flowctl describe {}` shows how many subtasks it runs with", job.id));
        wait::remark(&server, [&job.id], |now| is_scaled(now, &scale), output);
    }
    if job.state.is_terminal() { wait::outcome(&job) } else { Ok(Exit::Ok) }
}

/// The job when it runs as it is to, or has come to its end before that.
fn until_scaled(server: &Server, mut job: Job, scale: &Scale, output: &Output) -> Result<Job, Failure> {
    wait::until(server, output, |waiting| {
        let now: Description = waiting.ask(&job, &format!("/jobs/{}", job.id))?;
        let (is_there, what) = (now.job.state.is_terminal() || is_scaled(&now, scale), wait::standing(&now));
        job = now.job;
        Ok(if is_there { ControlFlow::Break(job.clone()) } else { ControlFlow::Continue(what) })
    })
}

/// Whether a job runs with as many subtasks as it is to.
fn is_scaled(description: &Description, scale: &Scale) -> bool {
    let is_there = |one: &Counters| {
        let wanted = scale.parallelism.get(&one.operator).copied().or(scale.all);
        wanted.is_none_or(|wanted| one.subtasks == wanted)
    };
    // There are none as long as nothing of it runs.
    let all = &description.operators;
    description.job.state == JobState::Running && !all.is_empty() && all.iter().all(is_there)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flow_model::ids::OperatorName;
    use serde_json::json;

    use super::*;

    /// A job whose nodes have so many subtasks.
    fn description(state: &str, subtasks: &[(&str, u32)]) -> Description {
        let counters = |(operator, subtasks): &(&str, u32)| {
            json!({
                "operator": operator, "subtasks": subtasks, "records-in": 0, "records-out": 0, "bytes-in": 0, "bytes-out": 0,
                "rejected": 0,
            })
        };
        let description = json!({
            "id": "a-000001", "name": "a", "state": state, "submitted": 0, "now": 1, "warnings": [],
            "plan": {"pipeline": "a", "key-groups": 128, "exchanges": [], "tasks": []},
            "operators": subtasks.iter().map(counters).collect::<Vec<_>>(),
        });
        serde_json::from_value(description).expect("a description")
    }

    #[test]
    fn when_it_is_there() {
        let named = |node: &str, count| {
            let parallelism = BTreeMap::from([(OperatorName::new(node).expect("a name"), count)]);
            Scale { parallelism, all: None }
        };
        let all = Scale { all: Some(2), ..Scale::default() };
        let check = |state: &str, subtasks: &[(&str, u32)], scale: &Scale, expect: bool| {
            assert_eq!(is_scaled(&description(state, subtasks), scale), expect, "{state} {subtasks:?} {scale:?}");
        };
        check("running", &[("in", 1), ("counts", 2)], &named("counts", 2), true);
        check("running", &[("in", 1), ("counts", 1)], &named("counts", 2), false);
        check("restarting", &[("in", 1), ("counts", 2)], &named("counts", 2), false);
        check("running", &[("in", 2), ("counts", 2)], &all, true);
        check("running", &[("in", 1), ("counts", 2)], &all, false);
        check("running", &[("in", 1), ("counts", 2)], &Scale { all: Some(2), ..named("in", 1) }, true);
        check("running", &[], &all, false);
    }
}
