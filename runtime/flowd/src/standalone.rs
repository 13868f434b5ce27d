//! `flowd standalone`: coordinator and worker in one process, REST API and all.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use flow_coordinator::jobs::Jobs;
use flow_coordinator::rest;
use flow_worker::{Options, Worker};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::Standalone;
use crate::data::{self, DataDir};
use crate::signals::Signals;
use crate::{beginning, say};

/// How long jobs may take to stop.
const JOBS_PATIENCE: Duration = Duration::from_secs(30);
/// How long requests that are under way may take then.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(3);

/// Serves until a signal comes.
pub fn run(args: &Standalone) -> Result<ExitCode> {
    let options = match beginning::with_api(&args.api, &args.process)? {
        Ok(options) => options,
        Err(code) => return Ok(code),
    };
    let path = args.data.clone().map_or_else(data::default_dir, Ok)?;
    let data = DataDir::open(&path, "--data DIR")?;
    data.remove_address();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(serve(args, options, &data));
    data.remove_address();
    // A request that hangs in a blocking call must not keep the process.
    runtime.shutdown_timeout(REQUESTS_PATIENCE);
    done.map(|()| ExitCode::SUCCESS)
}

async fn serve(args: &Standalone, options: rest::Options, data: &DataDir) -> Result<()> {
    let mut signals = Signals::catch()?;
    let listener =
        TcpListener::bind(args.api.listen).await.map_err(|error| explain(args.api.listen, &error, "--listen"))?;
    let address = listener.local_addr()?;
    let engine = Options { data_dir: data.path().to_owned(), component_cache_dir: data::component_cache() };
    let (worker, path, leader) = (Worker::new(engine)?, data.path().to_owned(), address.to_string());
    // Jobs go on from their checkpoints, which takes as long as it takes to load their components.
    let jobs = tokio::task::spawn_blocking(move || Jobs::new(worker, path, leader)).await??;
    let jobs = Arc::new(jobs);
    if !address.ip().is_loopback() && options.token.is_none() {
        tracing::warn!("{address} can be reached from other machines, and whoever reaches it can run code here");
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { _ = stopped.await };
    let mut server = tokio::spawn(rest::serve(listener, rest::Api::new(jobs.clone(), options), shutdown));
    data.write_address(&address.to_string())?;
    say::out(&format!("flowd listens on http://{address}"))?;
    tokio::select! {
        ended = &mut server => return ended?.context("the REST API ended"),
        () = signals.next() => {}
    }
    tracing::info!("stopping");
    let stopping = tokio::task::spawn_blocking(move || jobs.stop(JOBS_PATIENCE));
    tokio::select! {
        all = stopping => if !all? { tracing::warn!("some jobs were still running") },
        never = signals.kill() => never,
    }
    // The server may be gone already.
    _ = stop.send(());
    // Connections that stay open beyond this are cut.
    _ = tokio::time::timeout(REQUESTS_PATIENCE, server).await;
    Ok(())
}

/// Why an address can't be listened on, and what to do; `flag` chooses another one.
pub fn explain(listen: SocketAddr, error: &std::io::Error, flag: &str) -> anyhow::Error {
    let port = listen.port();
    match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "port {port} is taken on {}; choose another with {flag} {}:PORT (0 takes a free one)",
            listen.ip(),
            listen.ip()
        ),
        ErrorKind::PermissionDenied => {
            anyhow!("port {port} is not allowed for this user; choose one above 1023 with {flag} {}:PORT", listen.ip())
        }
        _ => anyhow!("can't listen on {listen}: {error}; choose another address with {flag}"),
    }
}
