//! The command line of `flowd`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::tls;
use clap::{Parser, Subcommand, ValueEnum};
use flow_model::quantity::ByteSize;

/// The end of `flowd --help`: those of flowctl, as far as they occur.
const CODES: &str = "\
Exit codes:
  0    done
  1    the job or the operation failed
  2    wrong usage, or a pipeline or component that can't run
  130  stopped by Ctrl-C or SIGTERM (run), or at once by a second one";

/// The Flow daemon
#[derive(Debug, Parser)]
#[command(name = "flowd", version, after_help = CODES, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Standalone(Standalone),
    Coordinator(Coordinator),
    Worker(Worker),
    Check(Check),
    Run(Run),
    Trial(Trial),
}

/// Coordinator and worker in one process
///
/// Answers the REST API and runs the jobs that come over it. SIGTERM and Ctrl-C stop the jobs, then the process; a
/// second one ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowd standalone
  flowd standalone --data /var/lib/flow --listen 127.0.0.1:9000
  flowd standalone --listen 127.0.0.1:0      a free port; DATA/flowd.address says which
  flowd standalone --listen 0.0.0.0:8081 --token-file /etc/flow/token")]
pub struct Standalone {
    /// Where jobs keep what they need while they run; a directory of flowd's own
    /// [default: $XDG_STATE_HOME/flow/standalone, else ~/.local/state/flow/standalone]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    pub api: Api,

    #[command(flatten)]
    pub process: Process,
}

/// Lead a cluster of workers, or stand by to
///
/// Any number of them may run: the store says which one leads, and the others answer requests by asking it. What they know lies in the
/// store alone. SIGTERM and Ctrl-C leave the jobs to the next leader; a second one ends the process at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowd coordinator --store s3://bucket/flow
  flowd coordinator --store /mnt/shared/flow --listen 127.0.0.1:8082 --control 127.0.0.1:8092")]
pub struct Coordinator {
    /// Where the cluster keeps what it knows, and checkpoints of jobs that name no other place: s3://bucket/prefix, or a directory that
    /// all nodes share. S3 is asked as the environment says (AWS_REGION, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...)
    #[arg(long, value_name = "PLACE")]
    pub store: String,

    #[command(flatten)]
    pub api: Api,

    /// Where other nodes connect: workers, and coordinators with requests that the leader has to answer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    pub control: SocketAddr,

    /// Where other nodes reach --control [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub advertise: Option<String>,

    #[command(flatten)]
    pub tls: tls::Files,

    #[command(flatten)]
    pub process: Process,
}

/// Run what the coordinator that leads the cluster gives to it
///
/// SIGTERM and Ctrl-C let other workers go on with what it runs, then end the process; a second one ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowd worker --coordinator 127.0.0.1:8091
  flowd worker --coordinator a:8091 --coordinator b:8091 --slots 4 --exchange 10.0.0.7:8101 --insecure")]
pub struct Worker {
    /// Where a coordinator takes workers (its --control); once for each that there is
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, required = true)]
    pub coordinator: Vec<String>,

    /// How many threads step tasks: subtask I of every task of a job shares one [default: the machine's cores]
    // What a machine has stands in no help, which the book shows.
    #[arg(long, value_name = "COUNT", default_value_t = std::thread::available_parallelism().map_or(1, |n| n.get() as u32), hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(flow_model::cluster::worker::SLOTS_MAX)))]
    pub slots: u32,

    /// What it is called, also when it is started again; no two that live have the same [default: one for each start]
    #[arg(long, value_name = "NAME", value_parser = worker_name)]
    pub name: Option<String>,

    /// Where jobs keep what they need while they run; a directory of flowd's own
    /// [default: $XDG_STATE_HOME/flow/worker, else ~/.local/state/flow/worker]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where other workers connect; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub exchange: SocketAddr,

    /// Where other workers reach --exchange [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub advertise: Option<String>,

    /// Where `GET /metrics` is answered, for Prometheus; without it nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,

    /// Listen beyond this machine in plain text: whoever reaches the address can send records to its jobs
    #[arg(long)]
    pub insecure: bool,

    #[command(flatten)]
    pub tls: tls::Files,

    #[command(flatten)]
    pub process: Process,
}

/// Read a pipeline, load its components, try their configs and show the plan; start nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowd check pipeline.yaml
  flowd check pipeline.yaml --output json | jq .plan")]
pub struct Check {
    /// The pipeline file
    pub file: PathBuf,

    /// For people, or JSON as of POST /jobs/check
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    #[command(flatten)]
    pub process: Process,
}

/// Run one pipeline in this process until its input ends or Ctrl-C
///
/// Stdout sinks write to the standard output, everything else goes to the standard error. When nobody reads the standard
/// output any more, the run ends as if it had finished.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowd run pipeline.yaml
  flowd run pipeline.yaml | head
  flowd run pipeline.yaml --output json 2>&1 >/dev/null | jq -s 'last.operators'")]
pub struct Run {
    /// The pipeline file
    pub file: PathBuf,

    /// Form of the closing report on the standard error, behind the log
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    #[command(flatten)]
    pub process: Process,
}

/// Run an operator over the records of a JSON request on the standard input, for `flowctl test`
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Trial {
    #[command(flatten)]
    pub process: Process,
}

/// What those take that answer the REST API.
#[derive(Debug, clap::Args)]
pub struct Api {
    /// Where the REST API and the page listen; beyond this machine only with a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// The largest pipeline with its components that a client may send
    #[arg(long, value_name = "SIZE", default_value = "256Mi")]
    pub body_max: ByteSize,

    /// The file with the token that requests have to carry, 16 characters or more; or the variable FLOW_TOKEN_FILE
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Listen beyond this machine in plain text and without a token: whoever reaches an address can run code where jobs run
    #[arg(long)]
    pub insecure: bool,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub struct Process {
    /// Form of the log on the standard error; text, unless a report beside it is JSON
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Log more; -vv logs everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// End when the process that started this one ends, however it does
    #[arg(long)]
    pub die_with_parent: bool,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

fn worker_name(text: &str) -> Result<String, String> {
    flow_model::cluster::worker::check_name(text).map(|()| text.to_owned())
}

/// An address that a node is reached by, as others write it.
fn host_port(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{why}; write HOST:PORT, as c1.example:8091 or [fd00::1]:8091"));
    if text.contains("://") {
        return wrong("it is no URL");
    }
    match text.rsplit_once(':') {
        Some(("", _)) => wrong("it has no host"),
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => wrong("an IPv6 address wants brackets"),
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        _ => wrong("it has no port"),
    }
}

#[cfg(test)]
mod address_tests {
    use super::host_port;

    #[test]
    fn addresses_are_looked_at() {
        for good in ["c1:8091", "10.0.0.7:1", "[::1]:8091"] {
            assert_eq!(host_port(good).as_deref(), Ok(good));
        }
        for bad in ["c1", "c1:", "http://c1:8091", "c1:0", "c1:99999", ":8091", "::1:8091", ""] {
            assert!(host_port(bad).is_err_and(|why| why.contains("write HOST:PORT")), "{bad}");
        }
    }
}
