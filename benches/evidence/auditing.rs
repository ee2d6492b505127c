//! An audit of 100,000 recorded events: how fast it reads, and what it holds in memory.

use std::time::Instant;

use alloy::primitives::{Address, B256, LogData, U256, aliases::U40, keccak256};
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result, ensure};
use guardrail::audit::export::{Context as Rows, Row, json_line};
use guardrail::audit::store::PageEnd;
use guardrail::audit::{AuditError, AuditLog, Join, LocalProof, LogStore};
use guardrail::contract::Setup;
use guardrail::crypto::{SigningKey, abi};
use guardrail::schema::anchors::{ApproverAnchor, BridgeAnchor, ChainCheck, DEV_CHAIN_ID, EpochAnchors, TrustAnchors};
use guardrail::schema::{AuthorizationId, LedgerKind, RequestId, Timestamp};

use crate::fixture::dev;
use crate::harness::{Direction, Group, Metric, value_of};

/// Each request has six events: asked, two votes, approved, consumed, recorded.
const EVENTS_A_REQUEST: usize = 6;
const EVENTS: usize = 100_000;
const EVENTS_PER_S_MIN: f64 = 50_000.0;
const MEMORY_MIB_MAX: f64 = 16.0;
const PAGE: usize = 10_000;

#[derive(Default)]
pub struct Auditing {
    recorded: Option<Recorded>,
}

/// A chain's events on disk, as fetching leaves them, and the local evidence that fits.
struct Recorded {
    store: LogStore,
    local: Vec<LocalProof>,
    anchors: TrustAnchors,
}

impl Auditing {
    fn recorded(&mut self) -> Result<&Recorded> {
        if self.recorded.is_none() {
            self.recorded = Some(Recorded::make()?);
        }
        self.recorded.as_ref().context("nothing was recorded")
    }
}

impl Group for Auditing {
    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "audit of 100,000 fetched events, joined with as many requests' evidence ÷ 50,000 a second",
                unit: "1/s",
                target: 1.0,
                direction: Direction::AtLeast,
            },
            Metric {
                name: "what that audit adds to resident memory at its peak ÷ 16 MiB",
                unit: "MiB",
                target: 1.0,
                direction: Direction::AtMost,
            },
        ]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let recorded = self.recorded()?;
        let before_mib = resident_mib("VmRSS")?;
        // Linux: forget the peak that was reached before (proc(5), clear_refs).
        std::fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak of resident memory")?;
        let begun = Instant::now();
        let (events, findings) = recorded.audit()?;
        let took = begun.elapsed();
        let added_mib = (resident_mib("VmHWM")? - before_mib).max(0.0);
        ensure!(findings == 0, "{findings} findings in a record without fault");
        Ok(vec![events as f64 / took.as_secs_f64(), added_mib])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        Ok(vec![EVENTS_PER_S_MIN, MEMORY_MIB_MAX])
    }
}

impl Recorded {
    fn make() -> Result<Self> {
        let address = |index| SigningKey::dev(index).map(|key| key.address());
        let (requester, one, other) = (address(dev::REQUESTER)?, address(dev::APPROVER)?, address(2)?);
        let approver = |address, role: &str| ApproverAnchor { address, role: role.to_owned() };
        let anchors = TrustAnchors {
            chain_id: DEV_CHAIN_ID,
            genesis_hash: B256::ZERO,
            contract: Address::ZERO,
            code_hash: B256::ZERO,
            confirmations: 1,
            max_lifetime: 300,
            chain_check: ChainCheck::On,
            epochs: vec![EpochAnchors {
                epoch: 1,
                approvers: vec![approver(one, "operations"), approver(other, "security")],
                policy: Setup::example_policy(),
                bridges: vec![BridgeAnchor { signer: address(dev::SIGNER)?, requester }],
            }],
        };
        let mut store = LogStore::temporary()?;
        let (mut local, mut page) = (Vec::new(), Vec::new());
        for index in 0..EVENTS.div_ceil(EVENTS_A_REQUEST) as u64 {
            let id = keccak256(index.to_be_bytes());
            let action = keccak256(id);
            let request_id = RequestId::from_parts(1_800_000_000_000 + index, id.0[..10].try_into()?);
            let expires = U40::saturating_from(1_900_000_000_u64);
            let events = [
                abi::AuthorizationRequested {
                    id,
                    requester,
                    actionHash: action,
                    requestHash: action,
                    requestId: request_id.to_string(),
                    toolName: "deploy_to_production".to_owned(),
                    riskBps: 9_000,
                    expiresAt: expires,
                    epoch: 1,
                }
                .encode_log_data(),
                vote(id, one),
                vote(id, other),
                abi::AuthorizationApproved { id, actionHash: action, approver: other }.encode_log_data(),
                abi::AuthorizationConsumed { id, actionHash: action, executor: requester, claim: action }
                    .encode_log_data(),
                abi::ExecutionRecorded { id, outcomeHash: action, outcome: 1 }.encode_log_data(),
            ];
            for (log_index, data) in (0..).zip(events) {
                let transaction = B256::from(U256::from(index));
                page.push(AuditLog { block: index, block_time_s: 1_800_000_000 + index, log_index, transaction, data });
            }
            let tx = Some(B256::from(U256::from(index)));
            let id = AuthorizationId(id);
            local.push(LocalProof { id, request_id, decision: tx, consumption: tx, outcome: tx });
            if page.len() >= PAGE {
                store.append(&page, PageEnd { to_block: index, hash: B256::ZERO })?;
                page.clear();
            }
        }
        store.append(&page, PageEnd { to_block: u64::from(u32::MAX), hash: B256::ZERO })?;
        Ok(Recorded { store, local, anchors })
    }

    /// What `guardrail audit --json` does once the events are fetched, but for writing to a terminal.
    fn audit(&self) -> Result<(u64, u64)> {
        let mut join = Join::new(Some(self.anchors.clone()))?;
        for proof in &self.local {
            join.add_local(proof)?;
        }
        let rows = Rows {
            ledger: LedgerKind::Evm,
            chain_id: DEV_CHAIN_ID,
            contract: Address::ZERO.to_checksum(None),
            now_ms: Timestamp::now().unix_ms(),
        };
        let (mut written, mut findings) = (0, 0);
        self.store.each::<AuditError>(|log| {
            let Some(event) = log.decode()? else { return Ok(()) };
            findings += u64::from(join.take(&event)?.is_some());
            written += json_line(&rows, Row::Event(&event)).to_string().len();
            Ok(())
        })?;
        join.findings::<AuditError>(|finding| {
            findings += 1;
            written += json_line(&rows, Row::Finding(&finding)).to_string().len();
            Ok(())
        })?;
        ensure!(written > EVENTS, "{written} bytes were written");
        Ok((join.summary().events, findings))
    }
}

fn vote(id: B256, approver: Address) -> LogData {
    abi::VoteCast { id, approver, approve: true, note: "canary first".to_owned() }.encode_log_data()
}

/// A line of `/proc/self/status` that is in KiB.
fn resident_mib(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| value_of(line, name)).context("no such line in /proc/self/status")?;
    let kib: f64 = line.trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
