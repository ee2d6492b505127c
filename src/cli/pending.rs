use serde::Deserialize;
use serde_json::json;

use super::context::Globals;
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::requests::{self, OnChain};
use crate::contract;
use crate::graph::Records;
use crate::risk::RiskAssessment;
use crate::schema::anchors::EpochAnchors;
use crate::schema::{AuthRequest, RiskScore, Timestamp};

/// List the requests that wait for a decision
#[derive(Debug, clap::Args)]
pub struct PendingArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Show one request: what exactly would be approved
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Request id or authorization id, or the beginning or end of one
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub async fn run(globals: &Globals, args: &PendingArgs) -> Result<Exit, CommandError> {
    let ledger = globals.ledger();
    let (provider, located, _) = requests::open(globals).await?;
    let channel = globals.open_channel()?;
    let epoch = contract::read_epoch(&provider, located.contract).await.map_err(crate::bridge::BridgeError::from)?;
    let waiting: Vec<OnChain> = requests::all(&provider, located).await?.into_iter().filter(OnChain::waits).collect();
    if args.json {
        let mut rows = Vec::new();
        for r in &waiting {
            let votes = requests::votes_so_far(globals, &channel, r.id)?;
            rows.push(json!({
                "ledger": ledger, "request_id": r.request_id, "authorization_id": r.id, "tool_name": r.tool_name,
                "risk_score": risk(r).as_f64(), "expires_at": r.expires_at_s, "epoch": r.epoch,
                "votes": votes.iter().map(|(a, approve)| json!({"approver": a, "approve": approve})).collect::<Vec<_>>(),
                "quorum": epoch.line_for(risk(r)).map(|line| &line.quorum),
            }));
        }
        outln!("{}", serde_json::Value::Array(rows))?;
        return Ok(Exit::Done);
    }
    if waiting.is_empty() {
        eprintln!("nothing waits for a decision");
        return Ok(Exit::Done);
    }
    for r in &waiting {
        let votes = requests::votes_so_far(globals, &channel, r.id)?;
        outln!(
            "{}  {}  risk {}  {}  {}  votes so far: {}; {}{}",
            r.request_id,
            r.tool_name,
            risk(r),
            time_left(r.expires_at_s),
            match r.read_request(&channel) {
                Ok(request) => summary(&request),
                Err(error) => format!("(unreadable: {})", error.error),
            },
            votes.len(),
            quorum_text(&epoch, risk(r)),
            mock::suffix(ledger),
        )?;
    }
    eprintln!(
        "decide with: guardrail approve ID    guardrail deny ID --reason TEXT    (guardrail show ID for the whole request)"
    );
    Ok(Exit::Done)
}

pub async fn show(globals: &Globals, args: &ShowArgs) -> Result<Exit, CommandError> {
    let (provider, located, _) = requests::open(globals).await?;
    let found = requests::find(&provider, located, &args.id).await?;
    let channel = globals.open_channel()?;
    let request = match found.read_request(&channel) {
        Ok(request) => request,
        // A settled request has left the channel; what the agent stored of it may still be here.
        Err(error) if error.exit == Exit::Usage => match stored_request(globals, &found)? {
            Some(request) => request,
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let epoch = contract::read_epoch(&provider, located.contract).await.map_err(crate::bridge::BridgeError::from)?;
    if args.json {
        outln!(
            "{}",
            json!({"ledger": globals.ledger(), "authorization_id": found.id, "status": found.status.as_str(), "expires_at": found.expires_at_s,
                "epoch": found.epoch, "requester": found.requester, "request": request.tree()})
        )?;
    } else {
        outln!("{}{}", mock::heading(globals.ledger()), describe(&found, &request, &epoch))?;
    }
    Ok(Exit::Done)
}

fn stored_request(globals: &Globals, found: &OnChain) -> Result<Option<AuthRequest>, CommandError> {
    Records::at(globals.state_dir()).request(&found.request_id).or_exit(Exit::Failed)
}

pub fn risk(r: &OnChain) -> RiskScore {
    RiskScore::from_bps_capped(u32::from(r.risk_bps))
}

/// The part of a request that an approver reads first.
pub fn summary(request: &AuthRequest) -> String {
    let shown: Vec<String> = request
        .parameters
        .iter()
        .filter(|(name, _)| !name.starts_with('$') && *name != "reasoning")
        .map(|(name, value)| format!("{name}={}", printable(&value.to_string())))
        .collect();
    shown.join(" ")
}

/// Everything that the vote is over, for a person with ten seconds: what, then why, then the rest.
pub fn describe(found: &OnChain, request: &AuthRequest, epoch: &EpochAnchors) -> String {
    let impact = &request.estimated_impact;
    let mut text = format!(
        "{tool}  {summary}\n  risk {risk} · {quorum} · {left} · {status}\n  impact: users {users}, downtime {downtime}, data {data}\n  the agent says: {why}\n",
        tool = request.tool_name,
        summary = summary(request),
        risk = request.risk_score,
        quorum = quorum_text(epoch, request.risk_score),
        left = if found.status.is_open() { time_left(found.expires_at_s) } else { "over".to_owned() },
        status = found.status.as_str(),
        users = printable(&impact.users_affected),
        downtime = printable(&impact.downtime_risk),
        data = printable(&impact.data_risk),
        why = printable(&request.reasoning),
    );
    text.push_str(&risk_breakdown(request));
    if let Some(resolved) = request.parameters.get("$resolved") {
        text.push_str(&format!("  resolved: {}\n", printable(&resolved.to_string())));
    }
    text.push_str(&format!(
        "  request {}\n  authorization {}\n  action hash {}\n  agent {}, checkpoint {}, sent {}",
        request.request_id,
        found.id,
        request.action_hash,
        printable(request.agent_id.as_deref().unwrap_or("unnamed")),
        printable(&request.agent_state_checkpoint),
        request.timestamp
    ));
    text
}

/// What the score is made of, where the sender says; it adds up, or the line says that it does not.
fn risk_breakdown(request: &AuthRequest) -> String {
    let Some(assessment) = request
        .context
        .as_ref()
        .and_then(|context| context.get("risk"))
        .and_then(|risk| RiskAssessment::deserialize(risk).ok())
    else {
        return String::new();
    };
    let mut text = format!("  score: {} base\n", assessment.base);
    for modifier in &assessment.modifiers {
        let delta = f64::from(modifier.delta_bps) / 10_000.0;
        text.push_str(&format!(
            "    {delta:+} {}: {}\n",
            printable(&modifier.name),
            printable(&modifier.justification)
        ));
    }
    if !assessment.model.top_features.is_empty() {
        let features: Vec<String> = assessment
            .model
            .top_features
            .iter()
            .map(|(name, weight)| format!("{} {weight:+.2}", printable(name)))
            .collect();
        text.push_str(&format!(
            "    the model gives {}, share {}: {}\n",
            assessment.model.probability,
            assessment.model.share,
            features.join(", ")
        ));
    }
    let sum = i64::from(assessment.base.bps())
        + assessment.modifiers.iter().map(|modifier| i64::from(modifier.delta_bps)).sum::<i64>();
    if sum != i64::from(request.risk_score.bps()) {
        text.push_str("    these do not add up to the score: do not rely on them\n");
    }
    text
}

/// Text from outside, on a terminal: control and bidirectional characters are escaped.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let hidden = c.is_control() || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
            let escaped: Box<dyn Iterator<Item = char>> =
                if hidden { Box::new(c.escape_unicode()) } else { Box::new(std::iter::once(c)) };
            escaped
        })
        .collect()
}

pub fn quorum_text(epoch: &EpochAnchors, risk: RiskScore) -> String {
    let parts: Vec<String> = epoch
        .line_for(risk)
        .map(|line| line.quorum.iter().map(|(role, count)| format!("{count} of {role}")).collect())
        .unwrap_or_default();
    format!("needs {}", parts.join(" and "))
}

pub fn time_left(expires_at_s: u64) -> String {
    let left = i64::try_from(expires_at_s).unwrap_or(i64::MAX).saturating_sub(Timestamp::now().unix_s());
    if left <= 0 { "expired".to_owned() } else { format!("{}:{:02} left", left / 60, left % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_play_with_the_terminal() {
        assert_eq!(printable("ok ☕ é"), "ok ☕ é");
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d");
    }
}
