//! What a daemon does before anything else.

use std::process::ExitCode;

use anyhow::{Context, Result};
use flow_coordinator::rest;
use flow_worker::failpoint;

use crate::cli::{Api, LogFormat, Process};
use crate::logging::{self, Quiet};
use crate::{exit, parent, say, token};

/// Of every daemon.
pub fn daemon(process: &Process) -> Result<()> {
    if process.die_with_parent {
        parent::die_with_it()?;
    }
    logging::start(process, Quiet::Daemon, LogFormat::Text);
    failpoint::arm()?;
    Ok(())
}

/// Of one that answers the REST API: how it does. Or what it ends with, if it may not; people are told why.
pub fn with_api(api: &Api, process: &Process) -> Result<Result<rest::Options, ExitCode>> {
    daemon(process)?;
    let token = match token::of(api.token_file.as_deref(), api.listen, api.insecure) {
        Ok(token) => token,
        Err(error) => {
            say::err(&format!("error: {error:#}"));
            return Ok(Err(ExitCode::from(exit::INVALID)));
        }
    };
    let body_max = usize::try_from(api.body_max.0).context("--body-max is too large for this machine")?;
    Ok(Ok(rest::Options { body_max, token, ..Default::default() }))
}
