//! `flowd coordinator`: leads a cluster, or stands by until it may.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flow_coordinator::cluster::{self, Campaign, Cluster, Outcome, Role};
use flow_coordinator::jobs::Jobs;
use flow_coordinator::rest::{self, Elected, Serving};
use flow_store::{Location, Place};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::cli::Coordinator;
use crate::signals::Signals;
use crate::standalone::explain;
use crate::{beginning, say, tls};

/// How long jobs may take to be left to the next leader.
const JOBS_PATIENCE: Duration = Duration::from_secs(5);
/// After this it tries again to lead.
const AGAIN: Duration = Duration::from_secs(1);
/// How long requests that are under way may take then.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(3);

/// Serves until a signal comes.
pub fn run(args: &Coordinator) -> Result<ExitCode> {
    let options = match beginning::with_api(&args.api, &args.process)? {
        Ok(options) => options,
        Err(code) => return Ok(code),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(serve(args, options));
    runtime.shutdown_timeout(REQUESTS_PATIENCE);
    done.map(|()| ExitCode::SUCCESS)
}

/// Where others reach what listens at an address.
pub fn advertised(given: Option<&str>, listens: SocketAddr, flag: &str) -> Result<String> {
    match given {
        Some(address) => Ok(address.to_owned()),
        None if listens.ip().is_unspecified() => {
            bail!("{listens} is no address that others can use; say how they reach this node with {flag} HOST:PORT")
        }
        None => Ok(listens.to_string()),
    }
}

async fn serve(args: &Coordinator, options: rest::Options) -> Result<()> {
    let mut signals = Signals::catch()?;
    let tls = args.tls.read()?;
    tls::refuse_plaintext(args.control, tls.is_some() || args.api.insecure, "--control")?;
    let place = Place::at(&location(&args.store)?);
    let store = place.open().await.with_context(|| format!("can't use the store {}", place.to))?;
    store.probe().await.with_context(|| format!("can't use the store {}", place.to))?;
    let store = store.below(cluster::ROOT)?;
    let listen =
        TcpListener::bind(args.api.listen).await.map_err(|error| explain(args.api.listen, &error, "--listen"))?;
    let control = TcpListener::bind(args.control).await.map_err(|error| explain(args.control, &error, "--control"))?;
    let (rest_address, control_address) = (listen.local_addr()?, control.local_addr()?);
    let reached = advertised(args.advertise.as_deref(), control_address, "--advertise")?;
    args.tls.fit(tls.as_ref(), &reached)?;
    let role = Role::default();
    let (stop_rest, stopped_rest) = oneshot::channel::<()>();
    let (stop_control, stopped_control) = oneshot::channel::<()>();
    let (resign, resigned) = oneshot::channel::<()>();
    let (outcomes, outcome) = unbounded_channel();
    let elected = Elected::new(role.clone(), tls.clone());
    let api = rest::Api::new(Serving::Leaders(elected.clone()), options);
    let mut rest_server = tokio::spawn(rest::serve(listen, api.clone(), async move { _ = stopped_rest.await }));
    let stopped = async move { _ = stopped_control.await };
    let mut control_server = tokio::spawn(cluster::serve(control, (role.clone(), tls, api), stopped));
    let campaign = Campaign { store: store.clone(), control: reached.clone(), role: role.clone() };
    let campaign = tokio::spawn(campaign.run(outcomes, resigned));
    let begin = move |term| Cluster::begin(term, reached.clone(), store.clone(), place.clone());
    let mut leading = tokio::spawn(lead_when_elected(outcome, (elected.clone(), role), begin));
    say::out(&format!("flowd listens on http://{rest_address}, and for workers on {control_address}"))?;
    tokio::select! {
        ended = &mut rest_server => return ended?.context("the REST API ended"),
        ended = &mut control_server => return ended?.context("the server for workers ended"),
        ended = &mut leading => return ended.context("leading ended"),
        () = signals.next() => {}
    }
    tracing::info!("stopping: jobs go on under the next leader");
    leading.abort();
    let left = async {
        leave(&elected).await;
        _ = resign.send(());
        // A store that does not answer finds out by silence.
        _ = tokio::time::timeout(REQUESTS_PATIENCE, campaign).await;
    };
    tokio::select! {
        () = left => {}
        never = signals.kill() => never,
    }
    _ = (stop_rest.send(()), stop_control.send(()));
    _ = tokio::time::timeout(REQUESTS_PATIENCE, async { tokio::join!(rest_server, control_server) }).await;
    Ok(())
}

/// Leads whenever the store says that this process does.
async fn lead_when_elected(
    mut outcome: UnboundedReceiver<Outcome>,
    (elected, role): (Elected, Role),
    begin: impl Fn(u64) -> Arc<Cluster>,
) {
    while let Some(what) = outcome.recv().await {
        // What has followed meanwhile counts.
        let what = std::iter::from_fn(|| outcome.try_recv().ok()).last().unwrap_or(what);
        leave(&elected).await;
        let Outcome::Elected(term) = what else { continue };
        while outcome.is_empty() {
            match jobs_of(begin(term)).await {
                Ok((cluster, jobs)) => {
                    elected.set(Some(Arc::new(jobs)));
                    // What has come meanwhile is looked at next.
                    if !role.lead(cluster) {
                        leave(&elected).await;
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!("can't lead yet: {error:#}; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Lets the jobs of the leader before go on. They are known before the first worker says what it runs of them.
async fn jobs_of(cluster: Arc<Cluster>) -> Result<(Arc<Cluster>, Jobs)> {
    let (leader, workers) = (cluster.address().to_owned(), cluster.clone());
    let jobs = tokio::task::spawn_blocking(move || Jobs::of_cluster(workers, leader)).await??;
    Ok((cluster, jobs))
}

/// Leaves all jobs to the next leader.
async fn leave(elected: &Elected) {
    if let Some(jobs) = elected.set(None)
        && tokio::task::spawn_blocking(move || jobs.stop(JOBS_PATIENCE)).await.is_err()
    {
        tracing::error!("a job could not be left to the next leader");
    }
}

/// A location, with a directory from the root on.
fn location(text: &str) -> Result<Location> {
    Ok(match text.parse()? {
        Location::Directory(path) => Location::Directory(std::path::absolute(Path::new(&path))?),
        s3 => s3,
    })
}
