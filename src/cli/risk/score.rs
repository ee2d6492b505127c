use std::io::Read;

use serde_json::{Map, Value, json};

use crate::cli::context::Globals;
use crate::cli::error::{CommandError, Exit, OrExit};
use crate::cli::out::outln;
use crate::cli::pending::printable;
use crate::risk::{AppliedModifier, CommandAssessment, ModelShare, RiskAssessment, RiskInput, RiskRoute, RunContext};
use crate::schema::{RiskScore, Timestamp, ToolName};

/// Most that is read from standard input, in bytes; a command that is longer is critical anyway.
const STDIN_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct ScoreArgs {
    /// A shell command line; `-` reads it from standard input
    #[arg(long, group = "what", value_name = "COMMAND", allow_hyphen_values = true)]
    command: Option<String>,
    /// A tool
    #[arg(long, group = "what", value_name = "NAME")]
    tool: Option<ToolName>,
    /// The tool's parameters
    #[arg(long, requires = "tool", value_name = "JSON")]
    params: Option<String>,
    /// Why, in the agent's words
    #[arg(long, requires = "tool", value_name = "TEXT")]
    reasoning: Option<String>,
    /// The moment, as 2026-11-22T12:00:00.000Z [default: now]
    #[arg(long, requires = "tool", value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

enum Scored {
    Command(CommandAssessment),
    Action(Box<RiskAssessment>),
}

pub fn score(globals: &Globals, args: &ScoreArgs) -> Result<Exit, CommandError> {
    let scored = assess(globals, args)?;
    let (score, route) = match &scored {
        Scored::Command(assessment) => (assessment.score, assessment.route),
        Scored::Action(assessment) => (assessment.score, assessment.route),
    };
    if args.json {
        outln!("{}", as_json(&scored)?)?;
    } else {
        outln!("{score} {}", meaning(route))?;
    }
    Ok(Exit::Done)
}

pub fn explain(globals: &Globals, args: &ScoreArgs) -> Result<Exit, CommandError> {
    let scored = assess(globals, args)?;
    if args.json {
        outln!("{}", as_json(&scored)?)?;
        return Ok(Exit::Done);
    }
    match &scored {
        Scored::Command(found) => {
            outln!("{} {}", found.score, meaning(found.route))?;
            breakdown(found.base, &found.modifiers, &found.model, found.score)?;
            for rule in &found.also {
                outln!("  also      {}: {}", rule.name, printable(&rule.justification))?;
            }
            outln!("  programs  {}", printable(&found.programs.join(", ")))?;
        }
        Scored::Action(found) => {
            outln!("{} {} (tier {})", found.score, meaning(found.route), found.tier)?;
            breakdown(found.base, &found.modifiers, &found.model, found.score)?;
            outln!("  users     {}", printable(&found.impact.users_affected))?;
            outln!("  downtime  {}", printable(&found.impact.downtime_risk))?;
            outln!("  data      {}", printable(&found.impact.data_risk))?;
        }
    }
    Ok(Exit::Done)
}

fn assess(globals: &Globals, args: &ScoreArgs) -> Result<Scored, CommandError> {
    let config = super::tool_config(globals)?;
    let policy = super::policy(globals, &config)?;
    let Some(tool_name) = &args.tool else {
        let command = match args.command.as_deref() {
            Some("-") => {
                let mut bytes = Vec::new();
                std::io::stdin().take(STDIN_BYTES_MAX).read_to_end(&mut bytes)?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Some(command) => command.to_owned(),
            None => String::new(),
        };
        return Ok(Scored::Command(policy.assess_command(&command)));
    };
    let parameters: Map<String, Value> = match &args.params {
        Some(text) => serde_json::from_str(text)
            .or_exit(Exit::Usage)
            .map_err(|error| error.hint("--params takes a JSON object"))?,
        None => Map::new(),
    };
    let known = config.tool_bases().or_exit(Exit::Usage)?.get(tool_name).copied();
    let written = parameters.get("reasoning").and_then(Value::as_str).unwrap_or_default();
    let input = RiskInput {
        tool_name,
        tier: known.map(|(tier, _)| tier),
        base: known.map_or(RiskScore::MAX, |(_, base)| base),
        parameters: &parameters,
        reasoning: args.reasoning.as_deref().unwrap_or(written),
        context: &RunContext::default(),
    };
    Ok(Scored::Action(Box::new(policy.assess(&input, args.at.unwrap_or_else(Timestamp::now)))))
}

fn as_json(scored: &Scored) -> Result<Value, CommandError> {
    let value = match scored {
        Scored::Command(assessment) => serde_json::to_value(assessment),
        Scored::Action(assessment) => serde_json::to_value(assessment),
    };
    let mut value = value.or_exit(Exit::Failed)?;
    if let Some(fields) = value.as_object_mut() {
        let kind = if matches!(scored, Scored::Command(_)) { "command" } else { "action" };
        fields.insert("kind".to_owned(), json!(kind));
    }
    Ok(value)
}

const fn meaning(route: RiskRoute) -> &'static str {
    match route {
        RiskRoute::Execute => "runs",
        RiskRoute::ExecuteAndReview => "runs, listed for review",
        RiskRoute::AskOperator => "asks the terminal",
        RiskRoute::RequireAuthorization => "needs approval",
    }
}

fn breakdown(
    base: RiskScore,
    modifiers: &[AppliedModifier],
    model: &ModelShare,
    score: RiskScore,
) -> Result<(), CommandError> {
    outln!("  {:>7}  base", base.to_string())?;
    for modifier in modifiers {
        outln!(
            "  {:>+7}  {}: {}",
            f64::from(modifier.delta_bps) / 10_000.0,
            modifier.name,
            printable(&modifier.justification)
        )?;
    }
    outln!("  {:>7}  in all", score.to_string())?;
    let features: Vec<String> =
        model.top_features.iter().map(|(name, weight)| format!("{} {weight:+.2}", printable(name))).collect();
    let features = if features.is_empty() { "it saw nothing that weighs".to_owned() } else { features.join(", ") };
    outln!("  model     {}, share {}: {features}", model.probability, model.share)
}
