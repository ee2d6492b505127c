use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::evidence::required_anchors;
use super::mock;
use super::out::outln;
use super::pending::printable;
use crate::channel::{MESSAGE_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::evidence::bundle::BUNDLE_BYTES_MAX;
use crate::evidence::{Bundle, BundleReport, Endpoint, Expected, Report, StepVerdict, Verifier};
use crate::schema::{AuthRequest, AuthResponse, Decision, Refusal, Rule};

/// Check a bundle, or a response with its request, step by step
///
/// Works offline and trusts the anchors alone. With --rpc-url the chain is asked as well.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle; with --request a response. `-` reads stdin
    pub file: PathBuf,
    /// The request that the response answers
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// The pinned trust anchors [default: anchors.yaml in the state directory]
    #[arg(long, value_name = "FILE")]
    pub anchors: Option<PathBuf>,
    /// Ask no endpoint, even where GUARDRAIL_RPC_URL names one
    #[arg(long)]
    pub offline: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let anchors = required_anchors(globals, args.anchors.as_deref())?;
    let endpoint = match &globals.rpc_url {
        Some(url) if !args.offline => Some(Endpoint::connect(url).await.or_exit(Exit::Unreachable)?),
        Some(_) | None => None,
    };
    let verifier = Verifier::for_ledger(globals.ledger(), anchors, endpoint).or_exit(Exit::Usage)?;
    let checked = match &args.request {
        None => check_bundle(&verifier, &args.file).await?,
        Some(request) => check_response(&verifier, request, &args.file).await?,
    };
    let ledger = globals.ledger();
    if args.json {
        let mut value = checked.to_json();
        value["ledger"] = json!(ledger);
        outln!("{value}")?;
    } else {
        outln!("{}{}", mock::heading(ledger), checked.to_text(&args.file))?;
    }
    Ok(if checked.failure.is_none() { Exit::Done } else { Exit::Unverified })
}

/// What was checked, and what came of it.
struct Checked {
    about: Vec<(&'static str, String)>,
    reports: Vec<(&'static str, Report)>,
    failure: Option<String>,
    /// The rule that a file broke before anything in it was checked.
    rule: Option<Rule>,
    /// What was decided, in a word.
    said: Option<&'static str>,
    chain_checked: bool,
}

async fn check_bundle(verifier: &Verifier, path: &Path) -> Result<Checked, CommandError> {
    let bundle = match read(path, BUNDLE_BYTES_MAX)?.and_then(|bytes| Bundle::parse(&bytes)) {
        Ok(bundle) => bundle,
        Err(refusal) => return Ok(Checked::refused(refusal)),
    };
    let report = verifier.check_bundle(&bundle).await;
    let mut about = about(&bundle.request);
    let anchors = &bundle.anchors;
    about.push((
        "anchors",
        format!("chain {}, contract {}, epoch {}", anchors.chain_id, anchors.contract, anchors.epoch().epoch),
    ));
    if let Some(consumption) = &bundle.consumption {
        about.push(("claim", consumption.claim.to_string()));
    }
    if let Some(outcome) = &bundle.outcome {
        about.push(("outcome", format!("{}: {}", outcome.outcome, printable(&outcome.result.to_string()))));
    }
    let failure = report.failure().map(|failure| failure.to_string());
    let chain_checked = report.chain_checked();
    let said = Some(bundle.decision.decision.as_str());
    let BundleReport { decision, consumption, outcome, .. } = report;
    let named = [("decision", decision), ("consumption", consumption), ("outcome", outcome)];
    let reports = named.into_iter().filter_map(|(name, report)| report.map(|report| (name, report))).collect();
    Ok(Checked { about, reports, failure, rule: None, said, chain_checked })
}

async fn check_response(verifier: &Verifier, request: &Path, response: &Path) -> Result<Checked, CommandError> {
    let request = match read(request, MESSAGE_BYTES_MAX)?.and_then(|bytes| AuthRequest::parse(&bytes)) {
        Ok(request) => request,
        Err(refusal) => return Ok(Checked::refused(refusal)),
    };
    let response = match read(response, RESPONSE_BYTES_MAX)?.and_then(|bytes| AuthResponse::parse(&bytes)) {
        Ok(response) => response,
        Err(refusal) => return Ok(Checked::refused(refusal)),
    };
    // Whose claim or which outcome it should be, these two files alone do not say; the report does.
    let expected = match response.decision {
        Decision::Approved | Decision::Denied => Expected::Decision,
        Decision::Consumed => Expected::Consumption { id: None, claim: None },
        Decision::Recorded => Expected::Record { id: None, recorded: None },
    };
    let report = verifier.report(&request, &response, expected).await;
    Ok(Checked {
        about: about(&request),
        failure: report.failure.as_ref().map(|failure| failure.to_string()),
        rule: None,
        said: Some(response.decision.as_str()),
        chain_checked: report.chain() == StepVerdict::Passed,
        reports: vec![("response", report)],
    })
}

fn about(request: &AuthRequest) -> Vec<(&'static str, String)> {
    vec![
        ("request", format!("{} of {}", request.request_id, request.timestamp)),
        ("action", format!("{} at risk {}", request.tool_name, request.risk_score)),
    ]
}

impl Checked {
    fn refused(refusal: Refusal) -> Self {
        Checked {
            about: Vec::new(),
            reports: Vec::new(),
            failure: Some(refusal.to_string()),
            rule: Some(refusal.rule),
            said: None,
            chain_checked: false,
        }
    }

    fn chain(&self) -> &'static str {
        if self.chain_checked { "checked" } else { "not checked" }
    }

    fn to_json(&self) -> Value {
        let reports: Vec<Value> = self
            .reports
            .iter()
            .map(|(name, report)| json!({ "what": name, "decision": report.decision, "steps": report.steps }))
            .collect();
        json!({
            "verified": self.failure.is_none(),
            "decision": self.said,
            "chain": self.chain(),
            "failure": self.failure,
            "rule": self.rule.map(Rule::text),
            "responses": reports,
        })
    }

    fn to_text(&self, file: &Path) -> String {
        let mut text = String::new();
        for (name, value) in &self.about {
            text.push_str(&format!("{name:<12} {value}\n"));
        }
        for (name, report) in &self.reports {
            text.push_str(&format!("\n{name}: {}\n", report.decision.as_str()));
            for step in &report.steps {
                let line =
                    format!("  {} {:<9}  {:<14}  {}", step.step, step.name, step.verdict, printable(&step.detail));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        let file = file.display();
        match (&self.failure, self.said) {
            (None, said) => {
                text.push_str(&format!("\nVERIFIED: {}; chain: {}", said.unwrap_or_default(), self.chain()))
            }
            (Some(failure), _) => text.push_str(&format!("\nNOT VERIFIED: {file}: {}", printable(failure))),
        }
        text.trim_start().to_owned()
    }
}

/// Reads a file of a limited size. What is too large is a broken rule; what cannot be read is no verdict.
fn read(path: &Path, bytes_max: u64) -> Result<Result<Vec<u8>, Refusal>, CommandError> {
    let unreadable =
        |error: std::io::Error| CommandError::message(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    let too_large = || Refusal::new(Rule::TooLarge, format!("{} has more than {bytes_max} bytes", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.len() > bytes_max {
            return Ok(Err(too_large()));
        }
        Box::new(file)
    };
    let mut bytes = Vec::new();
    source.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) { Err(too_large()) } else { Ok(bytes) })
}
