//! Holds the chain's record against the local evidence and the pinned keys.
//!
//! Whatever grows with the number of requests is in a private database on disk, so memory does not.

use alloy::primitives::{Address, B256};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::AuditError;
use super::event::{AuditEvent, EventKind};
use super::store::{signed, unsigned};
use crate::schema::{AuthorizationId, RequestId, TrustAnchors};

const SCHEMA: &str = "
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2048;
CREATE TABLE life (
    id BLOB PRIMARY KEY,
    request_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    expires_at_s INTEGER NOT NULL,
    block INTEGER NOT NULL,
    approved_tx BLOB,
    ended_tx BLOB,
    consumed_tx BLOB,
    recorded_tx BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE local (
    id BLOB PRIMARY KEY,
    request_id TEXT NOT NULL,
    decision_tx BLOB,
    consumed_tx BLOB,
    recorded_tx BLOB
) STRICT, WITHOUT ROWID;
BEGIN;
";

/// On chain, and a stage of it has no evidence here. One row a request, the first stage that lacks.
const NOT_HERE: &str = "
SELECT life.id, life.request_id, life.block, CASE
    WHEN local.id IS NULL AND approved_tx IS NULL AND ended_tx IS NULL THEN 'request'
    WHEN local.id IS NULL OR (local.decision_tx IS NULL AND (approved_tx IS NOT NULL OR ended_tx IS NOT NULL)) THEN 'decision'
    WHEN life.consumed_tx IS NOT NULL AND local.consumed_tx IS NULL THEN 'consumption'
    WHEN life.recorded_tx IS NOT NULL AND local.recorded_tx IS NULL THEN 'outcome'
END AS stage, 0
FROM life LEFT JOIN local ON local.id = life.id WHERE stage IS NOT NULL";
/// Proven here by a transaction that the chain does not have for it.
const NOT_ON_CHAIN: &str = "
SELECT local.id, local.request_id, coalesce(life.block, 0), CASE
    WHEN local.decision_tx IS NOT NULL AND local.decision_tx IS NOT life.approved_tx
        AND local.decision_tx IS NOT life.ended_tx THEN 'decision'
    WHEN local.consumed_tx IS NOT NULL AND local.consumed_tx IS NOT life.consumed_tx THEN 'consumption'
    WHEN local.recorded_tx IS NOT NULL AND local.recorded_tx IS NOT life.recorded_tx THEN 'outcome'
END AS stage, 0
FROM local LEFT JOIN life ON life.id = local.id WHERE stage IS NOT NULL";
const NEVER_CONSUMED: &str = "
SELECT id, request_id, block, 'decision', expires_at_s FROM life
WHERE approved_tx IS NOT NULL AND ended_tx IS NULL AND consumed_tx IS NULL";
const NEVER_RECORDED: &str = "
SELECT id, request_id, block, 'consumption', 0 FROM life WHERE consumed_tx IS NOT NULL AND recorded_tx IS NULL";

/// What an auditor should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    OnChainNotHere,
    HereNotOnChain,
    ApprovedNeverConsumed,
    ConsumedNeverRecorded,
    /// A decision, or a request, by a key that the anchors do not pin for its epoch.
    ForeignKey,
    /// A bundle of this host does not verify.
    NotVerified,
}

impl FindingKind {
    pub const ALL: [FindingKind; 6] = [
        FindingKind::OnChainNotHere,
        FindingKind::HereNotOnChain,
        FindingKind::ApprovedNeverConsumed,
        FindingKind::ConsumedNeverRecorded,
        FindingKind::ForeignKey,
        FindingKind::NotVerified,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            FindingKind::OnChainNotHere => "on_chain_not_here",
            FindingKind::HereNotOnChain => "here_not_on_chain",
            FindingKind::ApprovedNeverConsumed => "approved_never_consumed",
            FindingKind::ConsumedNeverRecorded => "consumed_never_recorded",
            FindingKind::ForeignKey => "foreign_key",
            FindingKind::NotVerified => "not_verified",
        }
    }

    /// For a person.
    pub const fn title(self) -> &'static str {
        match self {
            FindingKind::OnChainNotHere => "on chain and not here",
            FindingKind::HereNotOnChain => "here and not on chain",
            FindingKind::ApprovedNeverConsumed => "approved and never consumed",
            FindingKind::ConsumedNeverRecorded => "consumed and never recorded",
            FindingKind::ForeignKey => "by a key outside the pinned set",
            FindingKind::NotVerified => "a bundle that does not verify",
        }
    }

    /// Whether somebody may be cheating, and not only late or elsewhere.
    pub const fn is_grave(self) -> bool {
        match self {
            FindingKind::HereNotOnChain | FindingKind::ForeignKey | FindingKind::NotVerified => true,
            FindingKind::OnChainNotHere | FindingKind::ApprovedNeverConsumed | FindingKind::ConsumedNeverRecorded => {
                false
            }
        }
    }
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Request,
    Decision,
    Consumption,
    Outcome,
}

impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Request => "request",
            Stage::Decision => "decision",
            Stage::Consumption => "consumption",
            Stage::Outcome => "outcome",
        }
    }

    fn parse(text: &str) -> Result<Self, AuditError> {
        match text {
            "request" => Ok(Stage::Request),
            "decision" => Ok(Stage::Decision),
            "consumption" => Ok(Stage::Consumption),
            "outcome" => Ok(Stage::Outcome),
            _ => Err(AuditError::Damaged("a stage is none")),
        }
    }
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(rename = "finding")]
    pub kind: FindingKind,
    pub stage: Stage,
    pub authorization_id: AuthorizationId,
    /// As the chain or the local evidence spells it; from outside.
    pub request_id: String,
    /// Of the request, or of the event; 0 where the chain does not have it.
    pub block: u64,
    pub detail: String,
}

/// What this host can prove of one request: the transactions that its evidence names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalProof {
    pub id: AuthorizationId,
    pub request_id: RequestId,
    pub decision: Option<B256>,
    pub consumption: Option<B256>,
    pub outcome: Option<B256>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub events: u64,
    pub requests: u64,
    pub local: u64,
}

/// The join while it is being made.
#[derive(Debug)]
pub struct Join {
    db: Connection,
    pinned: Option<TrustAnchors>,
    /// Whether there is local evidence to hold the chain against.
    has_local: bool,
    last_time_s: u64,
    summary: Summary,
}

impl Join {
    /// Without anchors no key is judged.
    ///
    /// # Errors
    /// [`AuditError::Database`].
    pub fn new(pinned: Option<TrustAnchors>) -> Result<Self, AuditError> {
        let db = Connection::open("")?;
        db.execute_batch(SCHEMA)?;
        db.set_prepared_statement_cache_capacity(16);
        Ok(Join { db, pinned, has_local: false, last_time_s: 0, summary: Summary::default() })
    }

    /// From here on the chain is held against local evidence, be there any or none.
    pub fn expect_local(&mut self) {
        self.has_local = true;
    }

    /// Adds what this host can prove.
    ///
    /// # Errors
    /// [`AuditError::Database`].
    pub fn add_local(&mut self, proof: &LocalProof) -> Result<(), AuditError> {
        self.has_local = true;
        self.summary.local += 1;
        let tx = |hash: &Option<B256>| hash.map(|hash| hash.to_vec());
        self.db.prepare_cached("INSERT OR REPLACE INTO local VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            proof.id.0.as_slice(),
            proof.request_id.as_str(),
            tx(&proof.decision),
            tx(&proof.consumption),
            tx(&proof.outcome)
        ])?;
        Ok(())
    }

    /// Takes the chain's next event; a finding where its key is not pinned.
    ///
    /// # Errors
    /// [`AuditError::Database`].
    pub fn take(&mut self, event: &AuditEvent) -> Result<Option<Finding>, AuditError> {
        self.summary.events += 1;
        self.last_time_s = event.block_time_s;
        let (id, tx) = (event.id.0.as_slice(), event.transaction.as_slice());
        let note = |sql: &str| -> Result<(), AuditError> {
            self.db.prepare_cached(sql)?.execute(params![id, tx])?;
            Ok(())
        };
        match &event.kind {
            EventKind::Requested { request_id, requester, expires_at_s, epoch, .. } => {
                self.summary.requests += 1;
                let insert = "INSERT OR REPLACE INTO life (id, request_id, epoch, expires_at_s, block) VALUES (?1, ?2, ?3, ?4, ?5)";
                self.db.prepare_cached(insert)?.execute(params![
                    id,
                    request_id,
                    signed(*epoch)?,
                    signed(*expires_at_s)?,
                    signed(event.block)?
                ])?;
                return Ok(self.foreign_request(event, request_id, *requester, *epoch));
            }
            EventKind::Vote { .. } => {}
            EventKind::Approved { .. } => note("UPDATE life SET approved_tx = ?2 WHERE id = ?1")?,
            EventKind::Denied { .. } | EventKind::Cancelled { .. } => {
                note("UPDATE life SET ended_tx = ?2 WHERE id = ?1")?;
            }
            EventKind::Consumed { .. } => note("UPDATE life SET consumed_tx = ?2 WHERE id = ?1")?,
            EventKind::Recorded { .. } => note("UPDATE life SET recorded_tx = ?2 WHERE id = ?1")?,
        }
        match &event.kind {
            EventKind::Vote { approver, .. }
            | EventKind::Approved { approver }
            | EventKind::Denied { approver, .. } => self.foreign_decision(event, *approver),
            EventKind::Requested { .. }
            | EventKind::Cancelled { .. }
            | EventKind::Consumed { .. }
            | EventKind::Recorded { .. } => Ok(None),
        }
    }

    fn foreign_request(&self, event: &AuditEvent, request_id: &str, by: Address, epoch: u64) -> Option<Finding> {
        let pinned = self.pinned.as_ref()?;
        let detail = match pinned.epoch(epoch) {
            None => format!("epoch {epoch} is not pinned, so neither are its keys"),
            Some(known) if known.bridges.iter().any(|bridge| bridge.requester == by) => return None,
            Some(_) => format!("{by} is no pinned requester of epoch {epoch}"),
        };
        Some(foreign(event, Stage::Request, request_id.to_owned(), detail))
    }

    fn foreign_decision(&self, event: &AuditEvent, by: Address) -> Result<Option<Finding>, AuditError> {
        let Some(pinned) = &self.pinned else { return Ok(None) };
        let row: Option<(String, i64)> = self
            .db
            .prepare_cached("SELECT request_id, epoch FROM life WHERE id = ?1")?
            .query_row([event.id.0.as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (request_id, epoch) = row.map_or((String::new(), 0), |(request_id, epoch)| (request_id, epoch));
        let epoch = unsigned(epoch)?;
        Ok(match pinned.epoch(epoch) {
            Some(known) if known.role_of(by).is_none() => {
                let detail = format!("{} by {by}, who is no pinned approver of epoch {epoch}", event.kind.name());
                Some(foreign(event, Stage::Decision, request_id, detail))
            }
            // An epoch that is not pinned was found with its request.
            Some(_) | None => None,
        })
    }

    /// Hands out what the join of everything shows, kind by kind.
    ///
    /// # Errors
    /// [`AuditError`], or whatever `each` fails with.
    pub fn findings<E: From<AuditError>>(&self, mut each: impl FnMut(Finding) -> Result<(), E>) -> Result<(), E> {
        let mut questions = Vec::new();
        if self.has_local {
            questions.push((FindingKind::OnChainNotHere, NOT_HERE));
            questions.push((FindingKind::HereNotOnChain, NOT_ON_CHAIN));
        }
        questions.push((FindingKind::ApprovedNeverConsumed, NEVER_CONSUMED));
        questions.push((FindingKind::ConsumedNeverRecorded, NEVER_RECORDED));
        let failed = |error: rusqlite::Error| E::from(AuditError::from(error));
        for (kind, sql) in questions {
            let mut statement = self.db.prepare(sql).map_err(failed)?;
            let mut rows = statement.query([]).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                each(self.finding(kind, row)?)?;
            }
        }
        Ok(())
    }

    fn finding(&self, kind: FindingKind, row: &rusqlite::Row<'_>) -> Result<Finding, AuditError> {
        let id: Vec<u8> = row.get(0)?;
        let id = B256::try_from(id.as_slice()).map_err(|_| AuditError::Damaged("an id is not 32 bytes"))?;
        let stage = Stage::parse(&row.get::<_, String>(3)?)?;
        let expires_at_s = unsigned(row.get(4)?)?;
        let detail = match kind {
            FindingKind::OnChainNotHere => format!("the {} has no evidence in this state directory", stage.as_str()),
            FindingKind::HereNotOnChain => format!("the chain has no such {}", stage.as_str()),
            FindingKind::ApprovedNeverConsumed if expires_at_s > self.last_time_s => {
                format!("good until {expires_at_s}, after the last event's block")
            }
            FindingKind::ApprovedNeverConsumed => format!("expired at {expires_at_s}"),
            FindingKind::ConsumedNeverRecorded => "nobody recorded what came of it".to_owned(),
            FindingKind::ForeignKey | FindingKind::NotVerified => String::new(),
        };
        let (authorization_id, request_id, block) = (AuthorizationId(id), row.get(1)?, unsigned(row.get(2)?)?);
        Ok(Finding { kind, stage, authorization_id, request_id, block, detail })
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }
}

fn foreign(event: &AuditEvent, stage: Stage, request_id: String, detail: String) -> Finding {
    let kind = FindingKind::ForeignKey;
    Finding { kind, stage, authorization_id: event.id, request_id, block: event.block, detail }
}
