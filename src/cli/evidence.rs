use std::io::Write;
use std::path::{Path, PathBuf};

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use crate::atomic_file;
use crate::evidence::{BundleFailure, Cure, Verifier};
use crate::graph::{ExportError, Records};
use crate::schema::{RequestId, TrustAnchors};

/// Evidence: what this host can prove to a stranger
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: EvidenceCommand,
}

#[derive(Debug, clap::Subcommand)]
enum EvidenceCommand {
    /// Write one file that proves what was decided on a request, and what came of it
    Export {
        /// Request id or authorization id, or the beginning or end of one
        id: String,
        /// Write to FILE instead of stdout; a file that is there is not replaced
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The pinned trust anchors [default: anchors.yaml in the state directory]
        #[arg(long, value_name = "FILE")]
        anchors: Option<PathBuf>,
    },
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    match &args.command {
        EvidenceCommand::Export { id, output, anchors } => export(globals, id, output.as_deref(), anchors.as_deref()),
    }
}

fn export(globals: &Globals, id: &str, output: Option<&Path>, anchors: Option<&Path>) -> Result<Exit, CommandError> {
    let records = Records::at(globals.state_dir());
    let id = find(&records, id).map_err(|error| {
        error.hint(format!("evidence is kept in {}/evidence; give another --state-dir", globals.state_dir().display()))
    })?;
    let anchors = required_anchors(globals, anchors)?;
    let verifier = Verifier::for_ledger(globals.ledger(), anchors, None).or_exit(Exit::Usage)?;
    let bundle = records.bundle(&id, &verifier).map_err(export_error)?;
    match verifier.check_bundle_offline(&bundle).failure() {
        None => {}
        Some(BundleFailure::Response { failure, .. }) if failure.cure == Cure::AskTheChain => {
            eprintln!(
                "it holds a contract's vote (ERC-1271): it verifies with an endpoint alone, offline it is not checkable"
            );
        }
        Some(failure) => {
            return Err(CommandError::new(Exit::Unverified, failure)
                .hint("nothing was written: what does not verify proves nothing"));
        }
    }
    let bytes = bundle.canonical().or_exit(Exit::Failed)?;
    match output {
        Some(path) => {
            write(path, &bytes)?;
            eprintln!("{}: {} bytes; check it with: guardrail verify {0} --anchors FILE", path.display(), bytes.len());
        }
        // No line feed: a bundle is canonical to its last byte.
        None => std::io::stdout().lock().write_all(&bytes)?,
    }
    Ok(Exit::Done)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match atomic_file::write_new(parent, path, bytes, 0o600).or_exit(Exit::Failed)? {
        atomic_file::Placed::New => Ok(()),
        atomic_file::Placed::NameTaken => {
            Err(CommandError::message(Exit::Usage, format!("{} is there already", path.display()))
                .hint("remove it first, or give another --output"))
        }
    }
}

/// The one request with evidence here that an id fits.
fn find(records: &Records, wanted: &str) -> Result<RequestId, CommandError> {
    let wanted = wanted.to_lowercase();
    let mut matches = Vec::new();
    for id in records.with_evidence().or_exit(Exit::Failed)? {
        if fits(records, &id, &wanted)? {
            matches.push(id);
        }
    }
    match (matches.pop(), matches.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), others) => {
            Err(CommandError::message(Exit::Usage, format!("{wanted:?} fits {} requests", others + 1))
                .hint("give more of the id"))
        }
        (None, _) => Err(CommandError::message(Exit::Usage, format!("no evidence here has the id {wanted:?}"))),
    }
}

fn fits(records: &Records, id: &RequestId, wanted: &str) -> Result<bool, CommandError> {
    if id.as_str().starts_with(wanted) || id.as_str().ends_with(wanted) {
        return Ok(true);
    }
    if !wanted.starts_with("0x") {
        return Ok(false);
    }
    let stored = records.response(id, crate::graph::records::Evidence::Response).or_exit(Exit::Failed)?;
    Ok(stored.is_some_and(|response| response.authorization_id.to_string().starts_with(wanted)))
}

/// The anchors of a file, or those that this state directory pins.
pub fn required_anchors(globals: &Globals, file: Option<&Path>) -> Result<TrustAnchors, CommandError> {
    let path = file.map_or_else(|| globals.anchors_path(), Path::to_owned);
    globals.pinned_anchors(&path)?.ok_or_else(|| {
        CommandError::message(Exit::Usage, format!("there are no trust anchors at {}", path.display()))
            .hint("give the file that was pinned with --anchors FILE; `guardrail anchors init` makes one from a chain")
    })
}

fn export_error(error: ExportError) -> CommandError {
    let exit = match &error {
        ExportError::NoEvidence(_) | ExportError::Signer | ExportError::Epoch(_) => Exit::Usage,
        ExportError::Record(_) | ExportError::Incomplete { .. } => Exit::Failed,
    };
    let hint = match &error {
        ExportError::Epoch(_) => Some("give anchors that pin that epoch with --anchors FILE"),
        ExportError::NoEvidence(_) | ExportError::Signer | ExportError::Record(_) | ExportError::Incomplete { .. } => {
            None
        }
    };
    let error = CommandError::new(exit, error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
