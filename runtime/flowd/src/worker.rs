//! `flowd worker`: runs what the coordinator that leads its cluster gives to it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use flow_model::channel::AttemptId;
use flow_model::cluster;
use flow_model::ids::WorkerId;
use flow_worker::member::{self, Joining};
use flow_worker::network::{self, Failure, Network};
use flow_worker::{Options, Worker as Engine};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;

use crate::cli::Worker;
use crate::coordinator::advertised;
use crate::data::{self, DataDir};
use crate::signals::Signals;
use crate::standalone::explain;
use crate::{beginning, metrics, say, tls};

/// Works until a signal comes and the leader has let it go.
pub fn run(args: &Worker) -> Result<ExitCode> {
    beginning::daemon(&args.process)?;
    let path = args.data.clone().map_or_else(|| data::dir_of("worker"), Ok)?;
    let data = DataDir::open(&path, "--data DIR")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work(args, &data))?;
    Ok(ExitCode::SUCCESS)
}

async fn work(args: &Worker, data: &DataDir) -> Result<()> {
    let mut signals = Signals::catch()?;
    let tls = args.tls.read()?;
    tls::refuse_plaintext(args.exchange, tls.is_some() || args.insecure, "--exchange")?;
    let options = Options { data_dir: data.path().to_owned(), component_cache_dir: data::component_cache() };
    let worker = Arc::new(Engine::new(options)?);
    // State of a worker that was killed is of no use: what counts is in the store.
    worker.forget_all();
    let id = WorkerId::of(fastrand::u128(..));
    // Whoever gives it no name calls it by this life of it.
    let name = args.name.clone().unwrap_or_else(|| format!("worker-{}", &id.as_str()[..8]));
    let (tell, broken) = unbounded_channel();
    let on_failure = Arc::new(move |attempt: &AttemptId, failure: &Failure| {
        // Nobody hears it when the process ends.
        _ = tell.send((attempt.clone(), failure.clone()));
    });
    let listen = args.exchange;
    let network_options = network::Options { tls: tls.clone(), ..network::Options::new(name.clone()) };
    let listening = move || Network::listen(listen, network_options, on_failure);
    let network = tokio::task::spawn_blocking(listening).await?.map_err(|error| match error {
        network::Error::Listen { .. } => anyhow!(error).context("choose another address with --exchange"),
        error => error.into(),
    })?;
    let listens = network.address();
    let me = cluster::Worker {
        id,
        name,
        address: advertised(args.advertise.as_deref(), listens, "--advertise")?,
        slots: args.slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: Default::default(),
    };
    args.tls.fit(tls.as_ref(), &me.address)?;
    say::out(&format!("flowd works as {}, with {} slots, and exchanges on {listens}", me.name, me.slots))?;
    if let Some(address) = args.metrics {
        let listener = TcpListener::bind(address).await.map_err(|error| explain(address, &error, "--metrics"))?;
        tokio::spawn(metrics::serve(listener, network.clone()));
    }
    let (leave, leaving) = watch::channel(false);
    let joining = Joining { coordinators: args.coordinator.clone(), me, tls, network, broken };
    let mut joined = tokio::spawn(member::join(worker, joining, leaving));
    tokio::select! {
        ended = &mut joined => return ended?.context("can't work for this cluster"),
        () = signals.next() => {}
    }
    tracing::info!("stopping: what runs here goes to other workers");
    _ = leave.send(true);
    tokio::select! {
        ended = joined => ended?.context("leaving the cluster"),
        never = signals.kill() => never,
    }
}
