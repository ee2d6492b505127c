//! `contracts/src/Authorization.sol` in Rust: what it keeps, its calls and its views.
//!
//! The conformance suite holds it to the contract. Three things differ: the EIP-712 name is
//! "Guardrail Mock"; there is no administration, so the epoch stays 1; and text that is not
//! UTF-8 is refused where the contract would take it.

use std::collections::{BTreeMap, HashMap};

use alloy::primitives::{Address, B256, Bytes, LogData, U256, aliases::U40, keccak256};
use alloy::sol_types::{Revert as RevertString, SolCall, SolError, SolInterface, SolValue};

use super::MockError;
use super::acts::Acts;
use crate::contract::bindings::Authorization as binding;
use crate::contract::{IAuthorization, Setup, policy_line, revert_reason, role_number};
use crate::crypto::abi::ChainStatus;
use crate::crypto::eip712::VERSION;
use crate::crypto::{SigningDomain, vote_digest_by_hash};
use crate::schema::{AuthorizationId, LedgerKind};

/// Approvers of a contract, one bit each (Authorization.sol, MAX_APPROVERS).
pub const APPROVERS_MAX: usize = 32;
/// The epoch, which nothing here raises.
pub const EPOCH: u64 = 1;
/// Which fields of the EIP-712 domain count: name, version, chain id, contract (EIP-5267).
const DOMAIN_FIELDS: u8 = 0x0f;
const NO_ADMINISTRATION: &str = "the mock ledger has no administration";

/// What a call changed and said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub writes: BTreeMap<B256, Entry>,
    pub logs: Vec<LogData>,
    pub output: Bytes,
}

/// A call that changed nothing, with the encoded error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert(pub Bytes);

impl Revert {
    pub fn of(error: impl SolError) -> Self {
        Revert(error.abi_encode().into())
    }

    pub fn text(reason: &str) -> Self {
        Revert::of(RevertString::from(reason))
    }

    /// The first four bytes: which error it is.
    pub fn selector(&self) -> [u8; 4] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    /// The error for a person.
    pub fn reason(&self) -> String {
        let text = || RevertString::abi_decode(&self.0).ok().map(|revert| revert.reason);
        revert_reason(&self.0).or_else(text).unwrap_or_else(|| "without a reason".to_owned())
    }
}

/// Who calls, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallContext {
    pub caller: Address,
    /// The newest block whose changes are seen.
    pub block: u64,
    /// The block's time, Unix seconds.
    pub time_s: u64,
}

/// What is kept about a request; its id commits to all the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Never `Expired`: that follows from the clock.
    pub stored: ChainStatus,
    pub expires_at_s: u64,
    pub line: u8,
    /// Approvals counted, one bit an approver.
    pub votes: u32,
}

impl Entry {
    pub const NONE: Entry = Entry { stored: ChainStatus::None, expires_at_s: 0, line: 0, votes: 0 };

    /// The status as the clock stands: what is open is `Expired` from its expiry on.
    pub const fn current(self, time_s: u64) -> ChainStatus {
        if self.stored.is_open() && time_s >= self.expires_at_s { ChainStatus::Expired } else { self.stored }
    }
}

/// The contract: a fixed set-up, and every state that every request ever had.
#[derive(Clone, Debug)]
pub struct Authorization {
    pub(super) address: Address,
    pub(super) chain_id: u64,
    pub(super) domain: SigningDomain,
    pub(super) admin: Address,
    pub(super) approvers: Vec<IAuthorization::Approver>,
    pub(super) policy: Vec<IAuthorization::PolicyLine>,
    pub(super) bridges: Vec<IAuthorization::Bridge>,
    /// States by the block that wrote them, ascending.
    entries: HashMap<B256, Vec<(u64, Entry)>>,
}

impl Authorization {
    /// The contract as its constructor leaves it.
    ///
    /// # Errors
    /// [`MockError::Setup`] for more approvers than bits.
    pub fn new(chain_id: u64, address: Address, setup: &Setup) -> Result<Self, MockError> {
        let count = setup.approvers.len();
        if count > APPROVERS_MAX {
            return Err(MockError::Setup(format!("{count} approvers, at most {APPROVERS_MAX} are possible")));
        }
        let approvers = (0u8..).zip(&setup.approvers).map(|(bit, approver)| IAuthorization::Approver {
            account: approver.address,
            role: role_number(&approver.role),
            bit,
        });
        let bridges = setup
            .bridges
            .iter()
            .map(|bridge| IAuthorization::Bridge { requester: bridge.requester, signer: bridge.signer });
        Ok(Authorization {
            address,
            chain_id,
            domain: SigningDomain::mock(chain_id, address),
            admin: setup.admin,
            approvers: approvers.collect(),
            policy: setup.policy.iter().map(policy_line).collect(),
            bridges: bridges.collect(),
            entries: HashMap::new(),
        })
    }

    /// Runs calldata as the contract would; what it changes is in the answer, and nowhere else yet.
    ///
    /// # Errors
    /// [`Revert`] with the encoded custom error, or without data where the calldata is no call.
    pub fn run(&self, context: CallContext, calldata: &[u8]) -> Result<Effects, Revert> {
        use binding::AuthorizationCalls as Call;
        let call = Call::abi_decode_validate(calldata).map_err(|_| Revert(Bytes::new()))?;
        let mut acts = Acts::new(self, context);
        match call {
            Call::requestAuthorization(c) => acts.request(&c.r, &c.requestId, &c.toolName)?,
            Call::requestBatch(c) => acts.request_batch(&c.r, &c.requestIds, &c.toolNames)?,
            Call::decide(c) => acts.decide(&c.r, &c.votes)?,
            Call::decideBatch(c) => acts.decide_batch(&c.r, &c.votes)?,
            Call::vote(c) => acts.vote(&c.r, c.approve, &c.note)?,
            Call::consume(c) => acts.consume(&c.r, c.claim)?,
            Call::consumeBatch(c) => acts.consume_batch(&c.r, &c.claims)?,
            Call::recordExecution(c) => acts.record(&c.r, c.outcome, c.outcomeHash)?,
            Call::recordBatch(c) => acts.record_batch(&c.r, &c.outcomes, &c.outcomeHashes)?,
            Call::cancel(c) => acts.cancel(&c.r, &c.reason)?,
            Call::setApprovers(_)
            | Call::setPolicy(_)
            | Call::setBridge(_)
            | Call::removeBridge(_)
            | Call::pause(_)
            | Call::unpause(_)
            | Call::transferAdmin(_)
            | Call::acceptAdmin(_) => return Err(Revert::text(NO_ADMINISTRATION)),
            Call::statusOf(_)
            | Call::requestState(_)
            | Call::hashRequest(_)
            | Call::hashVote(_)
            | Call::approvers(_)
            | Call::policy(_)
            | Call::bridges(_)
            | Call::epoch(_)
            | Call::paused(_)
            | Call::admin(_)
            | Call::pendingAdmin(_)
            | Call::eip712Domain(_) => {
                return Ok(Effects { output: self.view(context, call).into(), ..Effects::default() });
            }
        }
        Ok(acts.into_effects())
    }

    /// The answer of a view; empty for a call that is none.
    fn view(&self, context: CallContext, call: binding::AuthorizationCalls) -> Vec<u8> {
        use binding::AuthorizationCalls as Call;
        match call {
            Call::statusOf(c) => {
                let status = self.entry(c.id, context.block).current(context.time_s);
                binding::statusOfCall::abi_encode_returns(&status.code())
            }
            Call::requestState(c) => {
                let entry = self.entry(c.id, context.block);
                binding::requestStateCall::abi_encode_returns(&binding::requestStateReturn {
                    status: entry.current(context.time_s).code(),
                    expiresAt: U40::saturating_from(entry.expires_at_s),
                    line: entry.line,
                    votes: entry.votes,
                })
            }
            Call::hashRequest(c) => binding::hashRequestCall::abi_encode_returns(&id_of(&c.r)),
            Call::hashVote(c) => {
                let digest = self.vote_digest(&c.r, c.approve, &c.note);
                binding::hashVoteCall::abi_encode_returns(&digest)
            }
            Call::approvers(_) => binding::approversCall::abi_encode_returns(&self.approvers),
            Call::policy(_) => binding::policyCall::abi_encode_returns(&self.policy),
            Call::bridges(_) => binding::bridgesCall::abi_encode_returns(&self.bridges),
            Call::epoch(_) => binding::epochCall::abi_encode_returns(&EPOCH),
            Call::paused(_) => binding::pausedCall::abi_encode_returns(&false),
            Call::admin(_) => binding::adminCall::abi_encode_returns(&self.admin),
            Call::pendingAdmin(_) => binding::pendingAdminCall::abi_encode_returns(&Address::ZERO),
            Call::eip712Domain(_) => binding::eip712DomainCall::abi_encode_returns(&binding::eip712DomainReturn {
                fields: [DOMAIN_FIELDS].into(),
                name: LedgerKind::Mock.domain_name().to_owned(),
                version: VERSION.to_owned(),
                chainId: U256::from(self.chain_id),
                verifyingContract: self.address,
                salt: B256::ZERO,
                extensions: Vec::new(),
            }),
            Call::requestAuthorization(_)
            | Call::requestBatch(_)
            | Call::decide(_)
            | Call::decideBatch(_)
            | Call::vote(_)
            | Call::consume(_)
            | Call::consumeBatch(_)
            | Call::recordExecution(_)
            | Call::recordBatch(_)
            | Call::cancel(_)
            | Call::setApprovers(_)
            | Call::setPolicy(_)
            | Call::setBridge(_)
            | Call::removeBridge(_)
            | Call::pause(_)
            | Call::unpause(_)
            | Call::transferAdmin(_)
            | Call::acceptAdmin(_) => Vec::new(),
        }
    }

    /// Keeps what a call changed in a block.
    pub fn apply(&mut self, block: u64, writes: BTreeMap<B256, Entry>) {
        for (id, entry) in writes {
            self.entries.entry(id).or_default().push((block, entry));
        }
    }

    /// What is kept about an id after a block.
    pub fn entry(&self, id: B256, block: u64) -> Entry {
        let history = self.entries.get(&id).map(Vec::as_slice).unwrap_or_default();
        history.iter().rev().find(|(written, _)| *written <= block).map_or(Entry::NONE, |(_, entry)| *entry)
    }

    /// What an approver signs.
    pub fn vote_digest(&self, r: &IAuthorization::Request, approve: bool, note: &str) -> B256 {
        vote_digest_by_hash(&self.domain, AuthorizationId(id_of(r)), r.toolHash, r.actionHash, approve, note)
    }

    pub fn approver(&self, account: Address) -> Option<&IAuthorization::Approver> {
        self.approvers.iter().find(|approver| approver.account == account)
    }

    /// The index of the last policy line whose risk a request reaches.
    pub fn line_for(&self, risk_bps: u16) -> u8 {
        let reached = self.policy.iter().take_while(|line| line.minRiskBps <= risk_bps).count();
        u8::try_from(reached.saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// Whether a bitmap of votes meets every count of a policy line.
    pub fn meets(&self, line: u8, votes: u32) -> bool {
        let Some(line) = self.policy.get(usize::from(line)) else { return false };
        line.quorum.iter().all(|quorum| {
            let of_role = self.approvers.iter().filter(|a| quorum.role == 0 || a.role == quorum.role);
            let counted = of_role.filter(|approver| votes & bit_of(approver) != 0).count();
            counted >= usize::from(quorum.count)
        })
    }
}

/// The bit that stands for an approver's vote.
pub fn bit_of(approver: &IAuthorization::Approver) -> u32 {
    1u32.checked_shl(u32::from(approver.bit)).unwrap_or_default()
}

/// keccak256 of the ABI encoding of a request.
pub fn id_of(r: &IAuthorization::Request) -> B256 {
    keccak256(r.abi_encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::chain::LedgerEvent;
    use crate::mock::fixture::{START_MS, act, ask, chain, dev, request, state};

    fn vote(r: &IAuthorization::Request) -> Vec<u8> {
        binding::voteCall { r: r.clone(), approve: true, note: String::new() }.abi_encode()
    }

    fn events(event: LedgerEvent) -> Vec<&'static str> {
        match event {
            LedgerEvent::Confirmed { events, .. } => events,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_block_keeps_the_state_it_had() {
        let mut chain = chain();
        let r = request("r", 9_000);
        assert_eq!(events(act(&mut chain, 0, ask("r", &r), START_MS)), ["AuthorizationRequested"]);
        assert_eq!(events(act(&mut chain, 1, vote(&r), START_MS)), ["VoteCast"]);
        assert_eq!(events(act(&mut chain, 1, vote(&r), START_MS)), ["VoteSkipped"]);
        // Another of operations is no one of security.
        assert_eq!(events(act(&mut chain, 3, vote(&r), START_MS)), ["VoteCast"]);
        assert_eq!(events(act(&mut chain, 2, vote(&r), START_MS)), ["VoteCast", "AuthorizationApproved"]);
        let states: Vec<(u8, u32)> = (1..=6).map(|block| state(&chain, &r, block)).collect();
        assert_eq!(states, [(0, 0), (1, 0), (1, 0b001), (1, 0b001), (1, 0b011), (2, 0b111)]);
    }

    #[test]
    fn what_is_open_expires_with_the_block_of_its_time() {
        let mut chain = chain();
        let (open, settled) = (request("open", 5_000), request("settled", 5_000));
        act(&mut chain, 0, ask("open", &open), START_MS);
        act(&mut chain, 0, ask("settled", &settled), START_MS);
        let denial = binding::voteCall { r: settled.clone(), approve: false, note: "no".to_owned() }.abi_encode();
        assert_eq!(events(act(&mut chain, 2, denial, START_MS)), ["VoteCast", "AuthorizationDenied"]);
        let before = chain.head();
        let LedgerEvent::Reverted { reason, .. } = act(&mut chain, 1, vote(&open), START_MS + 300_000) else {
            panic!("it was counted")
        };
        assert!(reason.contains("RequestExpired"), "{reason}");
        assert_eq!((state(&chain, &open, before).0, state(&chain, &open, before + 1).0), (1, 7));
        assert_eq!(state(&chain, &settled, before + 1).0, 3);
    }

    #[test]
    fn a_line_is_the_last_whose_risk_is_reached() {
        let contract = chain().contract().clone();
        assert_eq!([0, 8_999, 9_000, 10_000].map(|risk| contract.line_for(risk)), [0, 0, 1, 1]);
        assert_eq!([0b001, 0b010, 0b100].map(|votes| contract.meets(0, votes)), [true; 3]);
        assert_eq!([0b011, 0b100, 0b101, 0b110].map(|votes| contract.meets(1, votes)), [false, false, true, true]);
        assert!(!contract.meets(0, 0) && !contract.meets(2, u32::MAX));
    }

    #[test]
    fn a_batch_goes_on_past_what_it_skips_and_sees_its_own_writes() {
        let mut chain = chain();
        let (a, b) = (request("a", 5_000), request("b", 5_000));
        let batch = binding::requestBatchCall {
            r: vec![a.clone(), a.clone(), b.clone()],
            requestIds: ["a", "a", "b"].map(str::to_owned).to_vec(),
            toolNames: vec!["deploy_to_production".to_owned(); 3],
        };
        let said = events(act(&mut chain, 0, batch.abi_encode(), START_MS));
        assert_eq!(said, ["AuthorizationRequested", "BatchItemSkipped", "AuthorizationRequested"]);
        assert_eq!([&a, &b].map(|r| state(&chain, r, chain.head()).0), [1, 1]);
    }

    #[test]
    fn calldata_that_is_no_call_reverts_without_a_reason() {
        let contract = chain().contract().clone();
        let context = CallContext { caller: dev(0).address(), block: 1, time_s: 0 };
        for calldata in [&[][..], &[1, 2, 3, 4], &ask("r", &request("r", 0))[..100]] {
            assert_eq!(contract.run(context, calldata), Err(Revert(Bytes::new())), "{calldata:?}");
        }
    }
}
