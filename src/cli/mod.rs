//! The command line: one file a subcommand, and the only place that prints.
//!
//! Data goes to stdout, everything else to stderr.

mod admin;
mod anchors;
mod audit;
mod bridge;
mod context;
mod contract;
mod demo;
mod deploy;
mod error;
mod evidence;
mod mock;
mod node;
mod out;
mod pending;
mod requests;
mod risk;
mod run;
mod screen;
mod transact;
mod verify;
mod vote;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use context::Globals;
pub use error::{CommandError, Exit};

/// A guard for autonomous DevOps agents: critical actions run only after people approved that
/// exact action on a chain.
#[derive(Debug, Parser)]
#[command(name = "guardrail", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Node(node::Args),
    Deploy(deploy::Args),
    Bridge(bridge::Args),
    Run(run::Args),
    Pending(pending::PendingArgs),
    Show(pending::ShowArgs),
    Approve(vote::ApproveArgs),
    Deny(vote::DenyArgs),
    Cancel(admin::CancelArgs),
    Admin(admin::Args),
    Audit(audit::Args),
    Evidence(evidence::Args),
    Verify(verify::Args),
    Anchors(anchors::Args),
    Contract(contract::Args),
    Risk(risk::Args),
    Checkpoints(run::CheckpointsArgs),
    Graph(run::GraphArgs),
}

/// Parses the arguments, runs the command, prints what went wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each belongs to.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return match error.print() {
                Ok(()) => code.into(),
                Err(_) => Exit::Failed.into(),
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    match runtime.block_on(dispatch(&cli)) {
        Ok(exit) => exit.into(),
        // Done is no failure: whoever read the output has seen enough.
        Err(error) if error.exit == Exit::Done => Exit::Done.into(),
        Err(error) => {
            eprintln!("{error}");
            error.exit.into()
        }
    }
}

async fn dispatch(cli: &Cli) -> Result<Exit, CommandError> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Demo(args) => demo::run(globals, args).await,
        Command::Node(args) => node::run(globals, args).await,
        Command::Deploy(args) => deploy::run(globals, args).await,
        Command::Bridge(args) => bridge::run(globals, args).await,
        Command::Run(args) => run::run(globals, args).await,
        Command::Pending(args) => pending::run(globals, args).await,
        Command::Show(args) => pending::show(globals, args).await,
        Command::Approve(args) => vote::approve(globals, args).await,
        Command::Deny(args) => vote::deny(globals, args).await,
        Command::Cancel(args) => admin::cancel(globals, args).await,
        Command::Admin(args) => admin::run(globals, args).await,
        Command::Audit(args) => audit::run(globals, args).await,
        Command::Evidence(args) => evidence::run(globals, args).await,
        Command::Verify(args) => verify::run(globals, args).await,
        Command::Anchors(args) => anchors::run(globals, args).await,
        Command::Contract(args) => contract::run(globals, args).await,
        Command::Risk(args) => risk::run(globals, args),
        Command::Checkpoints(args) => run::checkpoints(globals, args),
        Command::Graph(args) => run::graph(args),
    }
}
