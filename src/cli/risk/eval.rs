use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::cli::context::Globals;
use crate::cli::error::{CommandError, Exit, OrExit};
use crate::cli::out::outln;
use crate::cli::pending::printable;
use crate::risk::evaluate::{self, Report, Row};

/// Most rows of a file.
const ROWS_MAX: usize = 1_000_000;
/// Longest row that is shown whole, in characters.
const SHOWN_CHARS_MAX: usize = 160;

#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// One JSON object a line: kind, command or tool_name and parameters, label
    #[arg(value_name = "DATA.jsonl")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(globals: &Globals, args: &EvalArgs) -> Result<Exit, CommandError> {
    let config = super::tool_config(globals)?;
    let policy = super::policy(globals, &config)?;
    let tools = config.tool_bases().or_exit(Exit::Usage)?;
    let rows = read_rows(&args.data)?;
    let report = evaluate::evaluate(&policy, &tools, &rows);
    if args.json {
        outln!("{}", serde_json::to_string(&report).or_exit(Exit::Failed)?)?;
    } else {
        print(&report)?;
    }
    Ok(Exit::Done)
}

/// Reads the rows of a file.
///
/// # Errors
/// A file that cannot be read, or a line that is no row, by its number.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, CommandError> {
    let file =
        File::open(path).or_exit(Exit::Usage).map_err(|error| error.hint(format!("is {} there?", path.display())))?;
    let mut rows = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        if rows.len() >= ROWS_MAX {
            return Err(CommandError::message(
                Exit::Usage,
                format!("{} has more than {ROWS_MAX} rows", path.display()),
            ));
        }
        let row: Row = serde_json::from_str(&line).or_exit(Exit::Usage).map_err(|error| {
            error.hint(format!(
                "line {} of {}: a row is {{\"kind\": \"command\", \"command\": …, \"label\": \"dangerous\" or \"safe\"}}, or kind \"action\" with tool_name and parameters",
                number + 1,
                path.display()
            ))
        })?;
        rows.push(row);
    }
    Ok(rows)
}

fn print(report: &Report) -> Result<(), CommandError> {
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    outln!("rows                 {} ({} dangerous, {} safe)", report.rows, report.dangerous, report.safe)?;
    outln!("threshold            {}", report.threshold)?;
    outln!("recall               {}", shown(report.recall))?;
    outln!("false_positive_rate  {}", shown(report.false_positive_rate))?;
    outln!("precision            {}", shown(report.precision))?;
    outln!("roc_auc              {}", shown(report.roc_auc))?;
    outln!("ece                  {}", shown(report.ece))?;
    outln!("                     called dangerous   called safe")?;
    outln!("  is dangerous       {:>16}   {:>11}", report.true_positives, report.false_negatives)?;
    outln!("  is safe            {:>16}   {:>11}", report.false_positives, report.true_negatives)?;
    for mistake in &report.errors {
        let what = match (&mistake.row.command, &mistake.row.tool_name) {
            (Some(command), _) => command.clone(),
            (None, Some(tool)) => {
                let parameters =
                    mistake.row.parameters.as_ref().map(|map| serde_json::Value::Object(map.clone()).to_string());
                format!("{tool} {}", parameters.unwrap_or_default())
            }
            (None, None) => String::new(),
        };
        let text: String = printable(&what).chars().take(SHOWN_CHARS_MAX).collect();
        outln!("{:<11} {:<6} {text}", mistake.mistake, mistake.score.to_string())?;
    }
    Ok(())
}
