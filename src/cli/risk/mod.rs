mod eval;
mod score;
mod train;

use std::path::PathBuf;

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::out::outln;
use crate::risk::command::CommandScorer;
use crate::risk::{Model, RiskPolicy, command_rules};
use crate::tools::ToolConfig;

/// Largest model file, in bytes.
const MODEL_BYTES_MAX: u64 = 1024 * 1024;

/// Score actions and commands, explain scores, measure and train
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: RiskCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RiskCommand {
    /// Print the score of a shell command or a tool call, and what it means
    Score(score::ScoreArgs),
    /// Print everything that a score is made of; the numbers add up
    Explain(score::ScoreArgs),
    /// Measure the scores on labelled rows
    Eval(eval::EvalArgs),
    /// Check every rule for commands against its own examples, and list what contradicts
    Check,
    /// Fit the weights of config/risk_model.json (needs the feature risk-train)
    Train(train::TrainArgs),
}

pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match &args.command {
        RiskCommand::Score(args) => score::score(globals, args),
        RiskCommand::Explain(args) => score::explain(globals, args),
        RiskCommand::Eval(args) => eval::run(globals, args),
        RiskCommand::Check => check(globals),
        RiskCommand::Train(args) => train::run(globals, args),
    }
}

fn check(globals: &Globals) -> Result<Exit, CommandError> {
    let config = tool_config(globals)?;
    let rules = match config.command_risk {
        Some(rules) => rules,
        None => command_rules().or_exit(Exit::Failed)?,
    };
    let (_, problems) = CommandScorer::check(&rules).or_exit(Exit::Usage)?;
    for problem in &problems {
        outln!("{problem}")?;
    }
    if problems.is_empty() {
        eprintln!("{} rules hold to their examples", rules.rules.len());
        return Ok(Exit::Done);
    }
    Err(CommandError::message(Exit::Failed, format!("{} examples contradict their rules", problems.len())))
}

fn tool_config(globals: &Globals) -> Result<ToolConfig, CommandError> {
    let path = globals.config_dir.join("tool_config.yaml");
    crate::config::load_yaml(&path, "GUARDRAIL_TOOLS")
        .or_exit(Exit::Usage)
        .map_err(|error| error.hint("give the directory that holds it with --config-dir"))
}

/// The policy of the configuration directory: its rules, and its model where it has one, else the
/// model that ships with the program.
pub fn policy(globals: &Globals, tools: &ToolConfig) -> Result<RiskPolicy, CommandError> {
    let path: PathBuf = globals.config_dir.join("risk_model.json");
    let model = match crate::atomic_file::read_bounded_nofollow(&path, MODEL_BYTES_MAX) {
        Ok(bytes) => Model::parse(&bytes),
        Err(crate::atomic_file::ReadError::NotFound) => Model::shipped(),
        Err(error) => {
            return Err(CommandError::new(Exit::Usage, error).hint(format!("is {} a plain file?", path.display())));
        }
    };
    let model = model.or_exit(Exit::Usage).map_err(|error| {
        error.hint(format!(
            "{} is no usable model; remove it to use the one that ships with the program",
            path.display()
        ))
    })?;
    tools.risk_policy_with(model).or_exit(Exit::Usage)
}
