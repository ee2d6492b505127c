use std::path::PathBuf;

use alloy::primitives::Address;
use alloy::providers::RootProvider;
use indicatif::{ProgressBar, ProgressStyle};

use super::context::{Globals, Located};
use super::error::{CommandError, Exit, OrExit};
use super::evidence::required_anchors;
use super::mock;
use super::out::Lines;
use super::pending::printable;
use super::requests;
use crate::audit::export::{self, BundleVerdict, Context, Row};
use crate::audit::{AuditError, AuditEvent, Finding, FindingKind, Join, LocalProof, LogStore, Stage, fetch};
use crate::contract;
use crate::evidence::{Endpoint, Verifier};
use crate::graph::Records;
use crate::graph::records::Evidence;
use crate::schema::{AuthResponse, AuthorizationId, Decision, RequestId, Timestamp, TrustAnchors};

/// List what the contract recorded, and what does not fit with the evidence here
///
/// Reads the contract's events page by page into the state directory, so that an audit that was broken off
/// goes on where it was. Where this host keeps evidence, each side's record is held against the other's; where
/// trust anchors are pinned, decisions by other keys are found.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// How to print: text, JSON Lines, CSV, or OCSF events for a SIEM
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// Print one JSON object a line: --format jsonl
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Verify every bundle of this host too; ends with code 5 where something does not add up
    #[arg(long)]
    pub verify: bool,
    /// Print findings and verdicts alone, no events
    #[arg(long)]
    pub findings: bool,
    /// The pinned trust anchors [default: anchors.yaml in the state directory, if it is there]
    #[arg(long, value_name = "FILE")]
    pub anchors: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Jsonl,
    Csv,
    Ocsf,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let (provider, located, chain_id) = requests::open(globals).await?;
    let anchors = anchors(globals, args)?;
    let store = fetched(globals, &provider, located).await?;
    let context = Context {
        ledger: globals.ledger(),
        chain_id,
        contract: located.contract.to_checksum(None),
        now_ms: Timestamp::now().unix_ms(),
    };
    let mut printer = Printer::new(context, if args.json { Format::Jsonl } else { args.format })?;

    let mut join = Join::new(anchors.clone())?;
    let records = Records::at(globals.state_dir());
    let local = records.with_evidence().or_exit(Exit::Failed)?;
    if globals.state_dir().join("evidence").exists() {
        join.expect_local();
    }
    for id in &local {
        if let Some(proof) = local_proof(&records, id)? {
            join.add_local(&proof)?;
        }
    }
    store.each::<CommandError>(|log| {
        let Some(event) = log.decode()? else { return Ok(()) };
        let foreign = join.take(&event)?;
        if !args.findings {
            printer.event(&event)?;
        }
        foreign.map_or(Ok(()), |finding| printer.finding(&finding))
    })?;
    join.findings::<CommandError>(|finding| printer.finding(&finding))?;
    if args.verify {
        let anchors = required_anchors(globals, args.anchors.as_deref())?;
        verify(globals, &records, &local, anchors, &mut printer).await?;
    }
    let grave = printer.grave;
    printer.finish()?;
    told(globals, &join, located, anchors.is_some(), grave);
    Ok(if args.verify && grave > 0 { Exit::Unverified } else { Exit::Done })
}

/// The anchors that were asked for, or those that are there.
fn anchors(globals: &Globals, args: &Args) -> Result<Option<TrustAnchors>, CommandError> {
    match &args.anchors {
        Some(path) => required_anchors(globals, Some(path)).map(Some),
        None => globals.pinned_anchors(&globals.anchors_path()),
    }
}

/// The contract's logs, brought up to the head of the chain.
async fn fetched(globals: &Globals, provider: &RootProvider, located: Located) -> Result<LogStore, CommandError> {
    globals.ensure_state_dir()?;
    let genesis = contract::genesis_hash(provider).await.or_exit(Exit::Unreachable)?;
    let mut store = LogStore::open(globals.state_dir(), genesis, located.contract)?;
    let bar = ProgressBar::new(0);
    let template = "reading events {bar:30} block {pos} of {len}, {msg}";
    bar.set_style(ProgressStyle::with_template(template).or_exit(Exit::Failed)?);
    fetch::update(provider, &mut store, located.contract, located.from_block, |progress| {
        bar.set_length(progress.head);
        bar.set_position(progress.at_block);
        bar.set_message(format!("{} new events", progress.logs));
    })
    .await
    .map_err(|error| CommandError::from(error).hint("what was read is kept; run it again to go on from there"))?;
    bar.finish_and_clear();
    Ok(store)
}

/// What the evidence of a request names on chain; nothing where the bridge's word is all there is.
fn local_proof(records: &Records, id: &RequestId) -> Result<Option<LocalProof>, CommandError> {
    let stored = |kind| records.response(id, kind).or_exit(Exit::Failed);
    let Some(first) = stored(Evidence::Response)? else { return Ok(None) };
    if first.authorization_id == AuthorizationId::ZERO || first.evidence.is_none() {
        return Ok(None);
    }
    let tx = |response: Option<AuthResponse>, decision| {
        response.filter(|response| response.decision == decision).map(|response| response.blockchain_tx_hash)
    };
    Ok(Some(LocalProof {
        id: first.authorization_id,
        request_id: id.clone(),
        decision: Some(first.blockchain_tx_hash),
        consumption: tx(stored(Evidence::Consumed)?, Decision::Consumed),
        outcome: tx(stored(Evidence::Recorded)?, Decision::Recorded),
    }))
}

/// Makes the bundle of each request and verifies it, at the endpoint too.
async fn verify(
    globals: &Globals,
    records: &Records,
    local: &[RequestId],
    anchors: TrustAnchors,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let endpoint = Endpoint::connect(globals.rpc_url()).await.or_exit(Exit::Unreachable)?;
    let verifier = Verifier::for_ledger(globals.ledger(), anchors, Some(endpoint)).or_exit(Exit::Usage)?;
    let bar = ProgressBar::new(u64::try_from(local.len()).unwrap_or(u64::MAX));
    bar.set_style(ProgressStyle::with_template("verifying bundles {bar:30} {pos} of {len}").or_exit(Exit::Failed)?);
    for id in local {
        let verdict = verdict(&verifier, records, id).await;
        printer.bundle(&verdict)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn verdict(verifier: &Verifier, records: &Records, id: &RequestId) -> BundleVerdict {
    let mut verdict = BundleVerdict {
        request_id: id.clone(),
        authorization_id: AuthorizationId::ZERO,
        verified: false,
        chain_checked: false,
        failure: None,
    };
    match records.bundle(id, verifier) {
        Ok(bundle) => {
            let report = verifier.check_bundle(&bundle).await;
            verdict.authorization_id = bundle.decision.authorization_id;
            verdict.verified = report.verified();
            verdict.chain_checked = report.chain_checked();
            verdict.failure = report.failure().map(|failure| failure.to_string());
        }
        Err(error) => verdict.failure = Some(error.to_string()),
    }
    verdict
}

/// Says on stderr what was looked at, and what was not.
fn told(globals: &Globals, join: &Join, located: Located, has_anchors: bool, grave: u64) {
    let (summary, ledger) = (join.summary(), mock::suffix(globals.ledger()));
    let contract: Address = located.contract;
    eprintln!("{} events of {} requests of contract {contract}{ledger}", summary.events, summary.requests);
    if grave > 0 {
        eprintln!("{grave} findings that should not be");
    }
    if !has_anchors {
        eprintln!("keys were not checked: no trust anchors are pinned here; give them with --anchors FILE");
    }
    if summary.local == 0 {
        eprintln!("no evidence is kept in {}: the chain's record was held against none", globals.state_dir().display());
    }
    eprintln!(
        "check with: cast logs --from-block {} --address {contract} --rpc-url {}",
        located.from_block,
        globals.rpc_url()
    );
}

/// Writes rows in the asked form, and counts the grave ones.
struct Printer {
    context: Context,
    format: Format,
    out: Lines,
    grave: u64,
}

impl Printer {
    fn new(context: Context, format: Format) -> Result<Self, CommandError> {
        let mut printer = Printer { context, format, out: Lines::new(), grave: 0 };
        if format == Format::Csv {
            printer.csv(&export::CSV_HEADER)?;
        }
        Ok(printer)
    }

    fn event(&mut self, event: &AuditEvent) -> Result<(), CommandError> {
        let AuditEvent { block, transaction, id, kind, .. } = event;
        self.row(Row::Event(event), || {
            let detail = kind.detail();
            let fields = detail.as_object().into_iter().flatten();
            let fields: Vec<String> = fields
                .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), printable)))
                .collect();
            format!("{block:>6}  {transaction}  {:<24}  {id}  {}", kind.name(), fields.join(" "))
        })
    }

    fn finding(&mut self, finding: &Finding) -> Result<(), CommandError> {
        self.grave += u64::from(finding.kind.is_grave());
        let Finding { kind, stage, authorization_id, request_id, detail, .. } = finding;
        self.row(Row::Finding(finding), || {
            let (request_id, detail) = (printable(request_id), printable(detail));
            format!("FINDING {}: {} {request_id} {authorization_id}: {detail}", kind.title(), stage.as_str())
        })
    }

    fn bundle(&mut self, verdict: &BundleVerdict) -> Result<(), CommandError> {
        self.row(Row::Bundle(verdict), || {
            let chain = if verdict.chain_checked { "checked" } else { "not checked" };
            let word = if verdict.verified { "verified" } else { "NOT VERIFIED" };
            format!("bundle  {} {}: {word}; chain: {chain}", verdict.request_id, verdict.authorization_id)
        })?;
        match &verdict.failure {
            None => Ok(()),
            Some(failure) => self.finding(&Finding {
                kind: FindingKind::NotVerified,
                stage: Stage::Decision,
                authorization_id: verdict.authorization_id,
                request_id: verdict.request_id.to_string(),
                block: 0,
                detail: failure.clone(),
            }),
        }
    }

    fn row(&mut self, row: Row<'_>, text: impl FnOnce() -> String) -> Result<(), CommandError> {
        match self.format {
            Format::Text => {
                let line = format!("{}{}", text(), mock::suffix(self.context.ledger));
                self.out.line(line.as_bytes())
            }
            Format::Jsonl => self.out.line(export::json_line(&self.context, row).to_string().as_bytes()),
            Format::Ocsf => self.out.line(export::ocsf(&self.context, row).to_string().as_bytes()),
            Format::Csv => {
                let record = export::csv_record(&self.context, row);
                self.csv(&record)
            }
        }
    }

    fn csv<T: AsRef<[u8]>>(&mut self, record: &[T]) -> Result<(), CommandError> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
        writer.write_record(record).or_exit(Exit::Failed)?;
        let bytes = writer.into_inner().map_err(|error| CommandError::message(Exit::Failed, error))?;
        self.out.line(bytes.strip_suffix(b"\n").unwrap_or(&bytes))
    }

    fn finish(mut self) -> Result<(), CommandError> {
        self.out.finish()
    }
}

impl From<AuditError> for CommandError {
    fn from(error: AuditError) -> Self {
        let exit = match &error {
            AuditError::Endpoint(_) | AuditError::Page(_) => Exit::Unreachable,
            AuditError::Database(_)
            | AuditError::Version { .. }
            | AuditError::Decode { .. }
            | AuditError::Unplaced
            | AuditError::Damaged(_)
            | AuditError::Number(_) => Exit::Failed,
        };
        let error = CommandError::new(exit, error);
        match exit {
            Exit::Failed => error.hint("audit-*.sqlite in the state directory holds what was read; it can be removed"),
            _ => error,
        }
    }
}
