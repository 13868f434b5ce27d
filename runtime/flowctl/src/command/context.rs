//! `flowctl context`: which clusters there are, and which one is meant.

use std::io::Read;
use std::path::PathBuf;

use clap::Subcommand;
use flow_model::ids::PipelineName;
use serde::Serialize;

use crate::contexts::{Context, Contexts, Token, VARIABLE};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::server;
use crate::table::table;

/// Name several clusters and say which one is meant
///
/// A context is an address with a token. Without options, the server that --server names counts, else the context that
/// --context names, else FLOW_SERVER, else FLOW_CONTEXT, else the current context, else this machine. FLOW_TOKEN goes
/// before a context's token; the token of a context goes to its own server only. The certificate of a server with https has to be
/// signed by an authority that the system knows, or by one in the file of --ca or of the variable FLOW_CA.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowctl context add prod --server http://flow.example:8081 --token-file ~/.flow-token
  flowctl context use prod
  flowctl list                               of prod
  flowctl list --context test                of another, once
  flowctl context ls")]
pub struct Args {
    #[command(subcommand)]
    what: What,

    /// For people or for programs [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT", global = true)]
    pub output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add a context, or change it; the first one becomes the current one
    #[command(after_help = "\
Examples:
  flowctl context add test --server http://127.0.0.1:9000
  flowctl context add prod --server http://flow.example:8081 --token-file ~/.flow-token
  pass flow/prod | flowctl context add prod --server http://flow.example:8081 --token-stdin
  flowctl context add prod --server https://flow.example --ca company-ca.pem")]
    Add {
        /// What to call it
        name: PipelineName,
        /// Address of the coordinator, or of a proxy with https in front of it
        #[arg(long, value_name = "URL")]
        server: String,
        /// The file (PEM) with the authority that signed the server's certificate, if the system does not know it
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// The file that holds the token; read at each call
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Read the token from the standard input, and keep it in the contexts' file
        #[arg(long, conflicts_with = "token_file")]
        token_stdin: bool,
    },
    /// Make a context the current one
    #[command(after_help = "Examples:\n  flowctl context use prod")]
    Use {
        /// Its name
        name: PipelineName,
    },
    /// List the contexts
    #[command(visible_alias = "list", after_help = "Examples:\n  flowctl context ls\n  flowctl context ls -o name")]
    Ls,
    /// Remove a context
    #[command(after_help = "Examples:\n  flowctl context rm test")]
    Rm {
        /// Its name
        name: PipelineName,
    },
}

/// A context without its token.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    name: &'a str,
    current: bool,
    server: &'a str,
    /// Where its token comes from.
    token: String,
}

/// Does it.
pub fn run(args: &Args, output: &Output) -> Result<Exit, Failure> {
    let mut all = Contexts::load()?;
    match &args.what {
        What::Add { name, server, ca, token_file, token_stdin } => {
            let address = server::address(server)?;
            if ca.is_some() && !address.starts_with("https:") {
                return Err(
                    Failure::invalid(format!("--ca is for https, and {server} is not")).hint("write https:// in front")
                );
            }
            let ca = ca.as_ref().map(std::path::absolute).transpose().map_err(Failure::failed)?;
            ca.as_deref().map(server::authorities).transpose()?;
            let token = token_stdin.then(stdin).transpose()?;
            let token_file = token_file.as_ref().map(std::path::absolute).transpose().map_err(Failure::failed)?;
            token_file.as_deref().map(Token::read).transpose()?;
            all.contexts.insert(name.clone(), Context { server: server.clone(), token, token_file, ca });
            let current = all.current.get_or_insert_with(|| name.clone()).clone();
            all.store()?;
            let next = if current == *name {
                "it is the current one"
            } else {
                "`flowctl context use` makes it the current one"
            };
            output.note(&format!("{name} is {server}; {next}"));
        }
        What::Use { name } => {
            let server = all.get(name.as_str())?.server.clone();
            all.current = Some(name.clone());
            all.store()?;
            output.note(&format!("{name} is the current context: {server}"));
        }
        What::Rm { name } => {
            all.get(name.as_str())?;
            all.contexts.remove(name.as_str());
            if all.current.as_ref() == Some(name) {
                all.current = None;
                output.note(&format!("{name} was the current context; now none is"));
            }
            all.store()?;
        }
        What::Ls => list(&all, output)?,
    }
    Ok(Exit::Ok)
}

fn stdin() -> Result<Token, Failure> {
    let mut text = String::new();
    // A token has some hundred characters; more is something else.
    let read = std::io::stdin().take(1 << 16).read_to_string(&mut text);
    read.map_err(|error| Failure::invalid(format!("can't read the token from the standard input: {error}")))?;
    Token::new(&text, "the standard input")
}

fn list(all: &Contexts, output: &Output) -> Result<(), Failure> {
    // The one that a call without options takes.
    let current = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    let current = current.as_deref().or(all.current.as_ref().map(PipelineName::as_str));
    let rows: Vec<Row<'_>> = all.contexts.iter().map(|(name, context)| row(name, context, current)).collect();
    if rows.is_empty() {
        output.note("no contexts; make one with `flowctl context add NAME --server URL`");
    }
    let cells = |row: &Row<'_>| {
        vec![if row.current { "*" } else { "" }.into(), row.name.into(), row.server.into(), row.token.clone()]
    };
    output.print_named(
        &rows,
        || rows.iter().map(|row| row.name.to_owned()).collect(),
        || {
            if rows.is_empty() {
                String::new()
            } else {
                table(&["", "NAME", "SERVER", "TOKEN"], rows.iter().map(cells))
            }
        },
    )
}

fn row<'a>(name: &'a PipelineName, context: &'a Context, current: Option<&str>) -> Row<'a> {
    let token = match (&context.token, &context.token_file) {
        (Some(_), _) => "kept".to_owned(),
        (None, Some(file)) => file.display().to_string(),
        (None, None) => "none".to_owned(),
    };
    Row { name: name.as_str(), current: current == Some(name.as_str()), server: &context.server, token }
}
