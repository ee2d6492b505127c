//! What a chain says now beside what was pinned.

use std::collections::BTreeMap;

use serde::Serialize;

use super::anchors::{EpochAnchors, PolicyLine, TrustAnchors};

/// One thing in which the chain is not what is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: String,
    /// `None` where it is not pinned at all.
    pub pinned: Option<String>,
    /// `None` where the chain does not have it.
    pub chain: Option<String>,
}

impl Difference {
    pub fn new(what: impl Into<String>, pinned: Option<String>, chain: Option<String>) -> Self {
        Difference { what: what.into(), pinned, chain }
    }
}

impl TrustAnchors {
    /// In what a chain differs from these anchors: identity first, then the epoch in force against the
    /// highest pinned one. `confirmations`, `max_lifetime` and `chain_check` are the reader's own.
    pub fn differences(&self, chain: &TrustAnchors) -> Vec<Difference> {
        let mut pairs = vec![
            ("chain_id", self.chain_id.to_string(), chain.chain_id.to_string()),
            ("genesis_hash", self.genesis_hash.to_string(), chain.genesis_hash.to_string()),
            ("contract", self.contract.to_string(), chain.contract.to_string()),
            ("code_hash", self.code_hash.to_string(), chain.code_hash.to_string()),
        ];
        let (pinned, now) = (self.latest(), chain.latest());
        if let (Some(pinned), Some(now)) = (pinned, now) {
            pairs.push(("epoch", pinned.epoch.to_string(), now.epoch.to_string()));
        }
        let mut found: Vec<Difference> = pairs
            .into_iter()
            .filter(|(_, pinned, now)| pinned != now)
            .map(|(what, pinned, now)| Difference::new(what, Some(pinned), Some(now)))
            .collect();
        let (pinned, now) = (parts(pinned), parts(now));
        let names: std::collections::BTreeSet<&String> = pinned.keys().chain(now.keys()).collect();
        for name in names {
            let (pinned, now) = (pinned.get(name).cloned(), now.get(name).cloned());
            if pinned != now {
                found.push(Difference::new(name.clone(), pinned, now));
            }
        }
        found
    }

    /// These anchors with the other epochs that were pinned for the same contract, which audits go on to need.
    #[must_use]
    pub fn with_epochs_of(mut self, pinned: &TrustAnchors) -> Self {
        let identity = |a: &TrustAnchors| (a.chain_id, a.genesis_hash, a.contract, a.code_hash);
        if identity(&self) == identity(pinned) {
            let known: Vec<u64> = self.epochs.iter().map(|epoch| epoch.epoch).collect();
            self.epochs.extend(pinned.epochs.iter().filter(|epoch| !known.contains(&epoch.epoch)).cloned());
            self.epochs.sort_by_key(|epoch| epoch.epoch);
        }
        self
    }
}

/// Everything an epoch says, each under a name of its own.
fn parts(epoch: Option<&EpochAnchors>) -> BTreeMap<String, String> {
    let Some(epoch) = epoch else { return BTreeMap::new() };
    let approvers = epoch.approvers.iter().map(|a| (format!("approver {}", a.address), a.role.clone()));
    let policy = epoch.policy.iter().map(|line| (format!("policy from {}", line.min_risk_bps), quorum(line)));
    let bridges = epoch.bridges.iter().map(|b| (format!("bridge {}", b.requester), format!("signer {}", b.signer)));
    approvers.chain(policy).chain(bridges).collect()
}

fn quorum(line: &PolicyLine) -> String {
    let asked: Vec<String> = line.quorum.iter().map(|(role, count)| format!("{count} of {role}")).collect();
    asked.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::anchors::{ApproverAnchor, BridgeAnchor, ChainCheck};
    use alloy::primitives::{Address, B256};

    fn anchors(epoch: u64, roles: &[(u8, &str)]) -> TrustAnchors {
        let approver = |(byte, role): &(u8, &str)| ApproverAnchor {
            address: Address::repeat_byte(*byte),
            role: (*role).to_owned(),
        };
        TrustAnchors {
            chain_id: 1,
            genesis_hash: B256::ZERO,
            contract: Address::ZERO,
            code_hash: B256::ZERO,
            confirmations: 1,
            max_lifetime: 300,
            chain_check: ChainCheck::On,
            epochs: vec![EpochAnchors {
                epoch,
                approvers: roles.iter().map(approver).collect(),
                policy: vec![PolicyLine { min_risk_bps: 0, quorum: [("any".to_owned(), 1)].into() }],
                bridges: vec![BridgeAnchor { signer: Address::repeat_byte(9), requester: Address::repeat_byte(8) }],
            }],
        }
    }

    #[test]
    fn what_changed_is_named_and_what_is_the_readers_own_is_not() {
        let pinned = anchors(1, &[(1, "operations"), (2, "security")]);
        let mut now = anchors(3, &[(3, "operations"), (2, "operations")]);
        now.confirmations = 12;
        let [one, two, three] = [1, 2, 3].map(|byte| format!("approver {}", Address::repeat_byte(byte)));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            pinned.differences(&now),
            [
                Difference::new("epoch", text("1"), text("3")),
                Difference::new(one, text("operations"), None),
                Difference::new(two, text("security"), text("operations")),
                Difference::new(three, None, text("operations")),
            ]
        );
        assert_eq!(pinned.differences(&TrustAnchors { max_lifetime: 1, ..pinned.clone() }), []);
    }

    #[test]
    fn older_epochs_stay_pinned_for_the_same_contract_alone() {
        let (old, new) = (anchors(1, &[(1, "operations")]), anchors(2, &[(2, "operations")]));
        let kept = new.clone().with_epochs_of(&old);
        assert_eq!(kept.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(kept.latest(), new.latest());
        let other = TrustAnchors { contract: Address::repeat_byte(1), ..old };
        assert_eq!(new.clone().with_epochs_of(&other), new);
    }
}
