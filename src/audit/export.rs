//! The rows of an audit for other programs: JSON Lines, CSV, and the shape of OCSF.

use serde::Serialize;
use serde_json::{Value, json};

use super::event::{AuditEvent, EventKind};
use super::join::{Finding, FindingKind};
use crate::schema::{AuthorizationId, LedgerKind, Outcome, RequestId};

/// One row of an audit.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    Event(&'a AuditEvent),
    Finding(&'a Finding),
    Bundle(&'a BundleVerdict),
}

/// What the verification of one of this host's bundles came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BundleVerdict {
    pub request_id: RequestId,
    pub authorization_id: AuthorizationId,
    pub verified: bool,
    pub chain_checked: bool,
    pub failure: Option<String>,
}

/// What every row of one audit has in common.
#[derive(Clone, Debug)]
pub struct Context {
    pub ledger: LedgerKind,
    pub chain_id: u64,
    pub contract: String,
    /// When the audit ran, in Unix milliseconds.
    pub now_ms: i64,
}

/// One JSON object a row; `record` says of which kind it is.
pub fn json_line(context: &Context, row: Row<'_>) -> Value {
    let ledger = context.ledger;
    match row {
        Row::Event(e) => json!({
            "record": "event", "ledger": ledger, "block": e.block, "time": e.block_time_s, "log_index": e.log_index,
            "transaction": e.transaction, "event": e.kind.name(), "authorization_id": e.id, "detail": e.kind.detail(),
        }),
        Row::Finding(f) => tagged("finding", ledger, json!(f)),
        Row::Bundle(b) => tagged("bundle", ledger, json!(b)),
    }
}

fn tagged(record: &str, ledger: LedgerKind, mut value: Value) -> Value {
    value["record"] = json!(record);
    value["ledger"] = json!(ledger);
    value
}

/// The columns of [`csv_record`].
pub const CSV_HEADER: [&str; 11] = [
    "record",
    "ledger",
    "name",
    "time",
    "block",
    "transaction",
    "log_index",
    "authorization_id",
    "request_id",
    "account",
    "detail",
];

/// A row in the columns of [`CSV_HEADER`]; what a row does not have is empty.
///
/// Text from outside that a spreadsheet would take for a formula begins with an apostrophe.
pub fn csv_record(context: &Context, row: Row<'_>) -> [String; 11] {
    let ledger = context.ledger.to_string();
    let empty = String::new;
    let record = match row {
        Row::Event(e) => [
            "event".to_owned(),
            ledger,
            e.kind.name().to_owned(),
            e.block_time_s.to_string(),
            e.block.to_string(),
            e.transaction.to_string(),
            e.log_index.to_string(),
            e.id.to_string(),
            match &e.kind {
                EventKind::Requested { request_id, .. } => request_id.clone(),
                EventKind::Vote { .. }
                | EventKind::Approved { .. }
                | EventKind::Denied { .. }
                | EventKind::Cancelled { .. }
                | EventKind::Consumed { .. }
                | EventKind::Recorded { .. } => empty(),
            },
            e.kind.account().map(|account| account.to_checksum(None)).unwrap_or_default(),
            e.kind.detail().to_string(),
        ],
        Row::Finding(f) => [
            "finding".to_owned(),
            ledger,
            f.kind.as_str().to_owned(),
            empty(),
            f.block.to_string(),
            empty(),
            empty(),
            f.authorization_id.to_string(),
            f.request_id.clone(),
            empty(),
            format!("{}: {}", f.stage.as_str(), f.detail),
        ],
        Row::Bundle(b) => [
            "bundle".to_owned(),
            ledger,
            if b.verified { "verified" } else { "not_verified" }.to_owned(),
            empty(),
            empty(),
            empty(),
            empty(),
            b.authorization_id.to_string(),
            b.request_id.to_string(),
            empty(),
            b.failure.clone().unwrap_or_default(),
        ],
    };
    record.map(no_formula)
}

fn no_formula(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

const OCSF_VERSION: &str = "1.3.0";
const API_ACTIVITY: u64 = 6003;
const DETECTION_FINDING: u64 = 2004;

/// A row as an OCSF event: API Activity (6003) for what the contract recorded, Detection Finding (2004) for the rest.
///
/// Shaped after the schema of version 1.3.0; what it has no attribute for is under `unmapped`.
pub fn ocsf(context: &Context, row: Row<'_>) -> Value {
    match row {
        Row::Event(event) => api_activity(context, event),
        Row::Finding(f) => {
            let severity_id = if f.kind.is_grave() { 4 } else { 2 };
            detection(context, f.kind, &f.authorization_id, severity_id, json_line(context, row), &f.detail)
        }
        Row::Bundle(b) => {
            let severity_id = if b.verified { 1 } else { 4 };
            let what = b.failure.as_deref().unwrap_or("the bundle verifies");
            let id = &b.authorization_id;
            detection(context, FindingKind::NotVerified, id, severity_id, json_line(context, row), what)
        }
    }
}

fn api_activity(context: &Context, event: &AuditEvent) -> Value {
    let create = matches!(event.kind, EventKind::Requested { .. });
    let activity_id = if create { 1 } else { 3 };
    let severity_id = match &event.kind {
        EventKind::Recorded { outcome, .. } if Outcome::from_code(*outcome) != Some(Outcome::Succeeded) => 3,
        EventKind::Recorded { .. }
        | EventKind::Requested { .. }
        | EventKind::Vote { .. }
        | EventKind::Approved { .. }
        | EventKind::Denied { .. }
        | EventKind::Cancelled { .. }
        | EventKind::Consumed { .. } => 1,
    };
    let account = event.kind.account().map(|account| account.to_checksum(None));
    let actor = match &account {
        Some(account) => json!({ "user": { "uid": account, "type_id": 99, "type": "EVM account" } }),
        None => json!({ "app_name": "guardrail" }),
    };
    json!({
        "activity_id": activity_id,
        "category_uid": 6,
        "class_uid": API_ACTIVITY,
        "type_uid": API_ACTIVITY * 100 + activity_id,
        "time": event.block_time_s.saturating_mul(1000),
        "severity_id": severity_id,
        "status_id": 1,
        "metadata": metadata(&format!("{}:{}", event.transaction, event.log_index)),
        "actor": actor,
        "api": {
            "operation": event.kind.name(),
            "service": { "name": "Authorization contract", "uid": context.contract },
            "request": { "uid": event.id },
        },
        "src_endpoint": { "uid": account.unwrap_or_else(|| context.contract.clone()) },
        "resources": [{ "type": "authorization", "uid": event.id }],
        "unmapped": {
            "ledger": context.ledger, "chain_id": context.chain_id, "block": event.block,
            "transaction": event.transaction, "log_index": event.log_index, "detail": event.kind.detail(),
        },
    })
}

fn detection(
    context: &Context,
    kind: FindingKind,
    id: &AuthorizationId,
    severity_id: u64,
    unmapped: Value,
    detail: &str,
) -> Value {
    json!({
        "activity_id": 1,
        "category_uid": 2,
        "class_uid": DETECTION_FINDING,
        "type_uid": DETECTION_FINDING * 100 + 1,
        "time": context.now_ms,
        "severity_id": severity_id,
        "status_id": 1,
        "metadata": metadata(&format!("{}:{id}", kind.as_str())),
        "finding_info": { "uid": format!("{}:{id}", kind.as_str()), "title": kind.title(), "desc": detail, "types": [kind.as_str()] },
        "resources": [{ "type": "authorization", "uid": id }],
        "unmapped": unmapped,
    })
}

fn metadata(uid: &str) -> Value {
    json!({
        "version": OCSF_VERSION,
        "uid": uid,
        "product": { "name": "Guardrail", "vendor_name": "Guardrail", "version": env!("CARGO_PKG_VERSION") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{Address, B256};

    fn context() -> Context {
        Context { ledger: LedgerKind::Evm, chain_id: 31337, contract: Address::ZERO.to_checksum(None), now_ms: 7 }
    }

    fn event(kind: EventKind) -> AuditEvent {
        AuditEvent {
            block: 3,
            block_time_s: 1_800_000_000,
            log_index: 2,
            transaction: B256::repeat_byte(1),
            id: AuthorizationId(B256::repeat_byte(2)),
            kind,
        }
    }

    #[test]
    fn no_cell_of_a_table_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert_eq!(no_formula(text.to_owned()), format!("'{text}"));
        }
        let requested = event(EventKind::Requested {
            request_id: "=HYPERLINK(\"x\")".to_owned(),
            tool: "t".to_owned(),
            requester: Address::ZERO,
            risk_bps: 1,
            expires_at_s: 1,
            epoch: 1,
        });
        let record = csv_record(&context(), Row::Event(&requested));
        assert_eq!((record[0].as_str(), record[8].as_str()), ("event", "'=HYPERLINK(\"x\")"));
        assert_eq!(record.len(), CSV_HEADER.len());
    }

    #[test]
    fn ocsf_rows_have_what_their_classes_require() {
        let approved = event(EventKind::Approved { approver: Address::repeat_byte(9) });
        let row = ocsf(&context(), Row::Event(&approved));
        for name in [
            "activity_id",
            "actor",
            "api",
            "category_uid",
            "class_uid",
            "metadata",
            "severity_id",
            "src_endpoint",
            "time",
            "type_uid",
        ] {
            assert!(!row[name].is_null(), "{name}");
        }
        assert_eq!((&row["type_uid"], &row["time"]), (&json!(600_303), &json!(1_800_000_000_000_u64)));
        let finding = Finding {
            kind: FindingKind::ForeignKey,
            stage: super::super::join::Stage::Decision,
            authorization_id: approved.id,
            request_id: "r".to_owned(),
            block: 3,
            detail: "by somebody".to_owned(),
        };
        let row = ocsf(&context(), Row::Finding(&finding));
        for name in
            ["activity_id", "category_uid", "class_uid", "finding_info", "metadata", "severity_id", "time", "type_uid"]
        {
            assert!(!row[name].is_null(), "{name}");
        }
        assert_eq!((&row["type_uid"], &row["severity_id"]), (&json!(200_401), &json!(4)));
        assert_eq!(row["unmapped"]["finding"], "foreign_key");
    }
}
