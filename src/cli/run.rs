use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tracing::Instrument;

use super::anchors;
use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::pending::printable;
use super::screen::{JsonLines, Screen};
use crate::channel::Channel;
use crate::config::ConfigError;
use crate::evidence::Verifier;
use crate::graph::config::Provider;
use crate::graph::{
    Agent, AgentConfig, AgentError, AgentParts, AtInterrupt, CheckpointId, CheckpointStore, EventSink, ExitCode, Graph,
    NoVerifier, Operator, OperatorQuestion, RunEnd, RunEndReason, StoreError, ThreadId, VerifierSource,
};
use crate::llm::{Planner, ScriptedPlanner};
use crate::tools::{Registry, ToolConfig, Workspace};
use crate::{shutdown, telemetry};

/// Run the agent on a prompt, or go on from a checkpoint
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the agent is to do
    #[arg(long, value_name = "TEXT", required_unless_present = "resume", conflicts_with = "resume")]
    pub prompt: Option<String>,
    /// Go on from this checkpoint, as `thread/000004`
    #[arg(long, value_name = "ID")]
    pub resume: Option<CheckpointId>,
    /// Continue this conversation instead of beginning one
    #[arg(long, value_name = "ID", conflicts_with = "resume")]
    pub thread: Option<ThreadId>,
    /// The agent's configuration [default: agent_config.yaml in the configuration directory]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What the tools may read and change [default: the configuration's]
    #[arg(long, value_name = "DIR", env = "GUARDRAIL_WORKSPACE")]
    pub workspace: Option<PathBuf>,
    /// Leave at the interrupt instead of waiting for the decision; --resume goes on
    #[arg(long)]
    pub no_wait: bool,
    /// Show nodes, checkpoints and the log
    #[arg(long)]
    pub debug: bool,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// List checkpoints
#[derive(Debug, clap::Args)]
pub struct CheckpointsArgs {
    #[command(subcommand)]
    command: CheckpointsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CheckpointsCommand {
    /// The threads, or the checkpoints of one
    List {
        thread: Option<ThreadId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The whole state of a checkpoint, as JSON
    Show { id: CheckpointId },
}

/// Print the agent's graph
#[derive(Debug, clap::Args)]
pub struct GraphArgs {
    /// As a Mermaid diagram, the one form there is
    #[arg(long)]
    pub mermaid: bool,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let mut config = agent_config(globals, args.config.as_deref())?;
    let state_dir = globals.state_dir.clone().unwrap_or_else(|| config.state_dir.0.clone());
    crate::atomic_file::ensure_dir(&state_dir, 0o700)?;
    let console = if args.debug { telemetry::Console::Debug } else { telemetry::Console::Quiet };
    telemetry::init(&state_dir, "agent", console)?;
    let stop = shutdown::on_signal()?;

    if let Some(url) = &globals.rpc_url {
        config.verify.rpc_url.clone_from(url);
    }
    if globals.state_dir.is_some() && config.verify.anchors == AgentConfig::default().verify.anchors {
        config.verify.anchors = state_dir.join("anchors.yaml");
    }
    let channel_dir = match &globals.channel {
        Some(dir) => dir.clone(),
        None => config.channel_dir().or_exit(Exit::Usage)?.to_owned(),
    };
    let tool_path = globals.config_dir.join("tool_config.yaml");
    let tools: ToolConfig = crate::config::load_yaml(&tool_path, "GUARDRAIL_TOOLS").or_exit(Exit::Usage)?;
    let workspace = args.workspace.clone().unwrap_or_else(|| config.workspace.0.clone());
    let events: Arc<dyn EventSink> = if args.json {
        Arc::new(JsonLines::new(globals.ledger()))
    } else {
        Arc::new(Screen::new(globals.ledger(), args.debug, globals.flags()))
    };
    let operator: Option<Arc<dyn Operator>> = (std::io::stdin().is_terminal() && std::io::stderr().is_terminal())
        .then(|| Arc::new(Terminal) as Arc<dyn Operator>);
    let parts = AgentParts {
        authorization_timeout: Duration::from_secs(tools.timeouts.authorization_timeout),
        at_interrupt: if args.no_wait { AtInterrupt::Leave } else { AtInterrupt::Wait },
        registry: Registry::standard(tools.tool_settings().or_exit(Exit::Usage)?).or_exit(Exit::Usage)?,
        risk: super::risk::policy(globals, &tools)?,
        planner: planner(globals, &config)?,
        channel: Channel::open(&channel_dir)?,
        verifier: Arc::new(Pinned {
            globals: with_agent_paths(globals, &config, &state_dir, &channel_dir),
            anchors: config.verify.anchors.clone(),
        }),
        store: CheckpointStore::open(&state_dir).or_exit(Exit::Failed)?,
        state_dir,
        workspace: Workspace::open(&workspace).or_exit(Exit::Usage)?,
        operator,
        events,
        config,
    };
    let agent = Agent::new(parts).map_err(agent_error)?;
    let span = mock::span(globals.ledger());
    let end = match (&args.resume, &args.prompt) {
        (Some(id), _) => agent.resume(id, &stop).instrument(span).await,
        (None, Some(prompt)) => agent.run(args.thread.clone(), prompt, &stop).instrument(span).await,
        (None, None) => return Err(CommandError::message(Exit::Usage, "give --prompt or --resume")),
    };
    let end = end.map_err(agent_error)?;
    report(&end, args.json)?;
    Ok(exit_of(end.exit_code()))
}

fn with_agent_paths(globals: &Globals, config: &AgentConfig, state_dir: &Path, channel_dir: &Path) -> Globals {
    Globals {
        config_dir: globals.config_dir.clone(),
        channel: Some(channel_dir.to_owned()),
        rpc_url: Some(config.verify.rpc_url.clone()),
        state_dir: Some(state_dir.to_owned()),
        mock_chain: globals.mock_chain,
    }
}

fn agent_config(globals: &Globals, path: Option<&Path>) -> Result<AgentConfig, CommandError> {
    let path = path.map_or_else(|| globals.config_dir.join("agent_config.yaml"), Path::to_owned);
    let config: AgentConfig = crate::config::load_yaml(&path, "GUARDRAIL_AGENT").map_err(|error| match error {
        ConfigError::Read { .. } => CommandError::new(Exit::Usage, error)
            .hint("give the file with --config, or its directory with --config-dir"),
        _ => CommandError::new(Exit::Usage, error),
    })?;
    config.validate().or_exit(Exit::Usage)?;
    Ok(config)
}

fn planner(globals: &Globals, config: &AgentConfig) -> Result<Arc<dyn Planner>, CommandError> {
    match config.llm.provider {
        Provider::Scripted => {
            let path = &config.llm.scenario;
            // A scenario beside another configuration directory is found there.
            let beside = globals.config_dir.parent().map(|parent| parent.join(path));
            let path = if path.exists() {
                path.clone()
            } else {
                beside.filter(|p| p.exists()).unwrap_or_else(|| path.clone())
            };
            Ok(Arc::new(ScriptedPlanner::load(&path).or_exit(Exit::Usage)?))
        }
    }
}

/// The verifier is made when something is to be verified: a run that asks for nothing calls no chain.
struct Pinned {
    globals: Globals,
    anchors: PathBuf,
}

#[async_trait]
impl VerifierSource for Pinned {
    async fn open(&self) -> Result<Verifier, NoVerifier> {
        let told = |error: CommandError| {
            let hints: Vec<String> = error.hints.iter().map(|hint| format!("; {hint}")).collect();
            let reason = format!("{}{}", error.error, hints.concat());
            NoVerifier { reason, untrusted: error.exit == Exit::Unverified }
        };
        let endpoint = self.globals.connect().await.map_err(told)?;
        let anchors = anchors::pinned_or_dev(&self.globals, &self.anchors, &endpoint).await.map_err(told)?;
        Verifier::for_ledger(self.globals.ledger(), anchors, Some(endpoint))
            .map_err(|error| NoVerifier { reason: error.to_string(), untrusted: true })
    }
}

/// The person at the terminal.
struct Terminal;

#[async_trait]
impl Operator for Terminal {
    async fn ask(&self, question: &OperatorQuestion<'_>) -> bool {
        let parameters = printable(&json!(question.parameters).to_string());
        let text = format!(
            "{} {parameters}\nrisk {} ({}). Run it? [y/N] ",
            question.tool_name, question.assessment.score, question.assessment.tier
        );
        let answer = tokio::task::spawn_blocking(move || {
            eprint!("{text}");
            let mut line = String::new();
            std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut line)).map(|_| line)
        });
        match answer.await {
            Ok(Ok(line)) => matches!(line.trim(), "y" | "Y" | "yes"),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

fn report(end: &RunEnd, json: bool) -> Result<(), CommandError> {
    if let Some(answer) = end.answer() {
        if !json {
            outln!("{}", answer.trim_end())?;
        }
    } else {
        eprintln!("{}", end_text(&end.reason));
    }
    if end.can_go_on() {
        eprintln!("go on with: guardrail run --resume {}", end.checkpoint);
    }
    if !json && !end.state.reviews.is_empty() {
        let names: Vec<&str> = end.state.reviews.iter().map(|item| item.tool_name.as_str()).collect();
        eprintln!("for review: {}", names.join(", "));
    }
    Ok(())
}

fn end_text(reason: &RunEndReason) -> String {
    use crate::graph::EndReason;
    match reason {
        RunEndReason::Ended { why } => match why {
            EndReason::Finished { .. } => "finished".to_owned(),
            EndReason::IterationLimit { iterations_max } => {
                format!("stopped: {iterations_max} planner calls are the limit")
            }
            EndReason::ErrorLimit { last } => format!("stopped after too many errors; the last: {}", printable(last)),
            EndReason::OutcomeUnknown { request_id } => format!(
                "request {request_id} was consumed, and whether its action ran to its end cannot be known; it was recorded as unknown and is not run again"
            ),
        },
        RunEndReason::Interrupted => "a request waits for its decision".to_owned(),
        RunEndReason::Stopped => "stopped".to_owned(),
        RunEndReason::RunTimeout { limit_s } => format!("stopped: the run took longer than {limit_s} s"),
        RunEndReason::BridgeUnreachable { reason } => format!("the bridge does not answer: {}", printable(reason)),
        RunEndReason::Unverified { reason } => format!("no answer verified: {}", printable(reason)),
        RunEndReason::NoVerifier { reason, .. } => {
            format!("no answer could be verified, so nothing was asked: {}", printable(reason))
        }
    }
}

fn exit_of(code: ExitCode) -> Exit {
    match code {
        ExitCode::Done => Exit::Done,
        ExitCode::Failed => Exit::Failed,
        ExitCode::Denied => Exit::Denied,
        ExitCode::Expired => Exit::TimedOut,
        ExitCode::VerificationFailed => Exit::Unverified,
        ExitCode::Unreachable => Exit::Unreachable,
        ExitCode::Unknown => Exit::OutcomeUnknown,
    }
}

fn agent_error(error: AgentError) -> CommandError {
    let exit = match &error {
        AgentError::Config(_)
        | AgentError::Unfinished { .. }
        | AgentError::Store(StoreError::NoCheckpoint(_) | StoreError::NoThread(_)) => Exit::Usage,
        AgentError::Verifier { .. } => Exit::Unreachable,
        AgentError::Graph(_)
        | AgentError::Store(_)
        | AgentError::Records(_)
        | AgentError::Channel(_)
        | AgentError::Random(_)
        | AgentError::Message { .. }
        | AgentError::Incomplete { .. } => Exit::Failed,
    };
    CommandError::new(exit, error)
}

pub fn checkpoints(globals: &Globals, args: &CheckpointsArgs) -> Result<Exit, CommandError> {
    let config = agent_config(globals, None)?;
    let state_dir = globals.state_dir.clone().unwrap_or_else(|| config.state_dir.0.clone());
    let store = CheckpointStore::open(&state_dir).or_exit(Exit::Failed)?;
    match &args.command {
        CheckpointsCommand::List { thread: None, json } => {
            for (thread, count) in store.threads().or_exit(Exit::Failed)? {
                if *json {
                    outln!("{}", json!({"thread": thread, "checkpoints": count}))?;
                } else {
                    outln!("{thread}  {count} checkpoints")?;
                }
            }
        }
        CheckpointsCommand::List { thread: Some(thread), json } => {
            let rows = store.list(thread).or_exit(Exit::Failed)?;
            if rows.is_empty() {
                return Err(CommandError::message(Exit::Usage, format!("there is no thread {thread}"))
                    .hint("`guardrail checkpoints list` shows the threads"));
            }
            for row in rows {
                if *json {
                    outln!("{}", serde_json::to_string(&row).or_exit(Exit::Failed)?)?;
                } else {
                    let after = row.node.map_or_else(|| "the prompt".to_owned(), |node| node.to_string());
                    outln!("{}  {}  after {after}, next {}", row.id, row.created_at, row.next)?;
                }
            }
        }
        CheckpointsCommand::Show { id } => {
            let checkpoint = store.get(id).or_exit(Exit::Usage)?;
            outln!("{}", serde_json::to_string_pretty(&checkpoint.state).or_exit(Exit::Failed)?)?;
        }
    }
    Ok(Exit::Done)
}

pub fn graph(_args: &GraphArgs) -> Result<Exit, CommandError> {
    outln!("{}", Graph::standard().or_exit(Exit::Failed)?.to_mermaid().trim_end())?;
    Ok(Exit::Done)
}
