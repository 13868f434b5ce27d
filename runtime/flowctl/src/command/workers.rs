//! `flowctl workers`: the workers of a cluster.

use flow_model::api::{RunningPart, WorkerState, WorkerStatus, Workers, one_line};

use crate::cli::Remote;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::table;
use crate::time;

/// List the workers of the cluster: state, slots, what they run
///
/// SLOTS is how many are used, of how many; RUNNING says by which jobs, and in brackets in how many of them. A worker is `suspected` when it
/// was not heard of for a moment, `lost` when it was given up, `draining` until what it runs has gone to others, and `drained` when it
/// runs nothing any more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl workers
  flowctl workers -o wide                    with the id of each life of a worker
  flowctl workers -o json | jq '[.workers[].slots.free] | add'")]
pub struct Args {
    #[command(flatten)]
    pub remote: Remote,
}

/// Shows them.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let all: Workers = args.remote.server(output)?.get("/workers")?;
    if all.workers.is_empty() {
        output.note("no workers; start one with `flowd worker --coordinator HOST:PORT`");
    }
    let names = || all.workers.iter().map(|worker| one_line(&worker.name)).collect();
    output.print_named(&all, names, || text(&all.workers, output))?;
    Ok(Exit::Ok)
}

fn text(all: &[WorkerStatus], output: &Output) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut titles = vec!["NAME", "STATE", ">SLOTS", "RUNNING", "ADDRESS", "VERSION", "SINCE"];
    titles.extend(output.is_wide().then_some("ID"));
    table(&titles, all.iter().map(|worker| row(worker, output)))
}

fn row(worker: &WorkerStatus, output: &Output) -> Vec<String> {
    let mut row = vec![
        one_line(&worker.name),
        output.styled(style(worker.state), worker.state.as_str()),
        format!("{}/{}", worker.slots.used, worker.slots.total),
        running(&worker.running),
        one_line(&worker.address),
        one_line(&worker.version),
        time::utc(worker.since),
    ];
    row.extend(output.is_wide().then(|| worker.id.to_string()));
    row
}

fn style(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Active => "32",
        WorkerState::Suspected | WorkerState::Draining | WorkerState::Drained => "33",
        WorkerState::Lost => "31",
    }
}

/// `orders-3f9a2c (2), wordcount-1a2b3c (1)`.
pub fn running(parts: &[RunningPart]) -> String {
    let part = |part: &RunningPart| format!("{} ({})", part.job, part.slots);
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use flow_model::api::Slots;
    use flow_model::ids::{JobId, WorkerId};

    use super::*;
    use crate::output::Format;

    fn worker(name: &str, state: WorkerState, slots: (u32, u32), jobs: &[&str]) -> WorkerStatus {
        let running = |job: &&str| RunningPart { job: JobId::new(*job).expect("an id"), slots: 1 };
        WorkerStatus {
            id: WorkerId::of(7),
            name: name.to_owned(),
            address: "127.0.0.1:9000".to_owned(),
            version: "0.1.0".to_owned(),
            state,
            since: 0,
            slots: Slots { total: slots.0 + slots.1, used: slots.0, free: slots.1 },
            running: jobs.iter().map(running).collect(),
        }
    }

    #[test]
    fn a_table() {
        let all = [
            worker("w0", WorkerState::Active, (2, 2), &["a-000001", "b-000002"]),
            worker("w1\x1b[2J", WorkerState::Drained, (0, 16), &[]),
        ];
        let shown = |format| {
            let text = text(&all, &Output::new(format));
            text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
        };
        let wanted = [
            "NAME         STATE    SLOTS  RUNNING                     ADDRESS         VERSION  SINCE",
            "w0           active     2/4  a-000001 (1), b-000002 (1)  127.0.0.1:9000  0.1.0    1970-01-01 00:00:00.000Z",
            "w1\\u{1b}[2J  drained   0/16                              127.0.0.1:9000  0.1.0    1970-01-01 00:00:00.000Z",
        ];
        assert_eq!(shown(Format::Table), wanted);
        assert!(shown(Format::Wide)[2].ends_with("00000000000000000000000000000007"), "{:?}", shown(Format::Wide));
        assert!(text(&[], &Output::new(Format::Table)).is_empty());
    }
}
