//! SIGINT and SIGTERM. The first asks to stop, the second ends the process on the spot.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;

/// Both signals, caught from the moment this is made.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them; needs a tokio runtime.
    pub fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("can't catch signals");
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for the next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next of either, then ends the process without another word.
    pub async fn kill(&mut self) -> ! {
        self.next().await;
        std::process::exit(exit::INTERRUPTED.into());
    }
}
