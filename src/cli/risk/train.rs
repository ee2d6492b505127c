use std::path::PathBuf;

use crate::cli::context::Globals;
use crate::cli::error::{CommandError, Exit};

#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// Rows as `risk eval` takes them, none of which is in an evaluation split
    #[arg(value_name = "DATA.jsonl")]
    data: PathBuf,
    /// Where the model goes
    #[arg(long, value_name = "FILE", default_value = "config/risk_model.json")]
    out: PathBuf,
    /// The date on the model card, as 2026-11-28
    #[arg(long, value_name = "DATE")]
    date: String,
    /// The seed that the data was generated with, for the model card
    #[arg(long, value_name = "N")]
    seed: u64,
}

#[cfg(feature = "risk-train")]
pub fn run(globals: &Globals, args: &TrainArgs) -> Result<Exit, CommandError> {
    use crate::cli::error::OrExit;
    use crate::risk::model::train;

    let config = super::tool_config(globals)?;
    let policy = super::policy(globals, &config)?;
    let tools = config.tool_bases().or_exit(Exit::Usage)?;
    let rows = super::eval::read_rows(&args.data)?;
    let bytes = std::fs::read(&args.data)?;
    let source = train::Source {
        name: args.data.display().to_string(),
        bytes: &bytes,
        date: args.date.clone(),
        seed: args.seed,
    };
    let file = train::fit(&policy, &tools, &rows, &source).or_exit(Exit::Failed)?;
    let mut text = serde_json::to_string_pretty(&file).or_exit(Exit::Failed)?;
    text.push('\n');
    std::fs::write(&args.out, text)?;
    eprintln!(
        "{} weights from {} rows, written to {}; measure it with `guardrail risk eval`",
        file.weights.len(),
        rows.len(),
        args.out.display()
    );
    Ok(Exit::Done)
}

#[cfg(not(feature = "risk-train"))]
pub fn run(_globals: &Globals, args: &TrainArgs) -> Result<Exit, CommandError> {
    let TrainArgs { data, out, date, seed } = args;
    Err(CommandError::message(Exit::Usage, "this program was built without the trainer").hint(format!(
        "cargo run --features risk-train -- risk train {} --out {} --date {date} --seed {seed}",
        data.display(),
        out.display()
    )))
}
