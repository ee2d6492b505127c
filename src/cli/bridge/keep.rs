use std::path::PathBuf;

use super::super::context::Globals;
use super::super::error::{CommandError, Exit, OrExit};
use super::super::out::outln;
use crate::bridge::Journal;
use crate::schema::Timestamp;

/// Remove requests that ended long ago from the journal
///
/// With them go their votes, events, answers and transactions. Their ids stay known, so a
/// replay is still refused. It may run while the bridge runs.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// How long ago a request must have come and been answered, as 90d, 12h or 30m
    #[arg(long, value_name = "AGE", default_value = "90d", value_parser = parse_age_ms)]
    pub older_than: i64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Copy the journal to a new file, whole as of one moment, also while the bridge runs
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write; it must not be there
    pub file: PathBuf,
}

pub fn prune(globals: &Globals, args: &PruneArgs) -> Result<Exit, CommandError> {
    let mut journal = open(globals)?;
    let pruned = journal.prune(Timestamp::now().unix_ms().saturating_sub(args.older_than))?;
    if args.json {
        outln!("{}", serde_json::to_string(&pruned).or_exit(Exit::Failed)?)?;
    } else {
        outln!("removed {} requests, {} answers, {} transactions", pruned.requests, pruned.responses, pruned.nonces)?;
    }
    Ok(Exit::Done)
}

pub fn backup(globals: &Globals, args: &BackupArgs) -> Result<Exit, CommandError> {
    open(globals)?.backup(&args.file)?;
    outln!("{}", args.file.display())?;
    Ok(Exit::Done)
}

fn open(globals: &Globals) -> Result<Journal, CommandError> {
    let path = globals.journal_path();
    if path.exists() {
        return Ok(Journal::open(&path)?);
    }
    Err(CommandError::message(Exit::Usage, format!("there is no journal at {}", path.display()))
        .hint("give the bridge's --state-dir"))
}

/// A number and d, h, m or s, in milliseconds.
fn parse_age_ms(text: &str) -> Result<i64, String> {
    let unit_s = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3_600,
        Some('m') => 60,
        Some('s') => 1,
        Some(_) | None => return Err("expected a number and d, h, m or s, as 90d".to_owned()),
    };
    let number: i64 =
        text[..text.len() - 1].parse().map_err(|_| "expected a number before the unit, as 90d".to_owned())?;
    if number < 0 {
        return Err("expected an age that is not negative".to_owned());
    }
    number.checked_mul(unit_s * 1000).ok_or_else(|| "that is too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_age_ms;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(parse_age_ms("90d"), Ok(90 * 86_400_000));
        assert_eq!(parse_age_ms("0s"), Ok(0));
        for wrong in ["", "90", "d", "-1h", "9999999999999d", "1w", "1½h"] {
            assert!(parse_age_ms(wrong).is_err(), "{wrong}");
        }
    }
}
