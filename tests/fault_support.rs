//! What the tests with faults share: lives of requests that are driven step by step, and the
//! count of what came of them, on the chain, in the channel and in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use alloy::primitives::{B256, Bytes, LogData};
use alloy::sol_types::SolEvent;
use guardrail::channel::{Channel, Incoming, ResponseKind};
use guardrail::crypto::{self, SigningDomain, abi};
use guardrail::evidence::verdict::Clock;
use guardrail::evidence::{VerifiedDecision, Verifier};
use guardrail::schema::message::{ClaimSecret, OutcomeKind};
use guardrail::schema::{
    AuthRequest, AuthResponse, AuthorizationId, Outcome, OutcomeMessage, RequestId, RequestState, Sha256Digest,
    Timestamp, VoteFile,
};
use serde_json::{Value, json};

use crate::bridge_life::consume_message;
use crate::jsonrpc::Rpc;
use crate::support::{PATIENCE, World, claim, deployment, dev};

/// Whether the long forms of the tests run (`make soak`).
pub fn soak() -> bool {
    std::env::var_os("GUARDRAIL_SOAK").is_some()
}

/// The size of a test: in an ordinary run, and in a soak.
pub fn size(short: usize, long: usize) -> usize {
    if soak() { long } else { short }
}

/// How long what takes long in a soak may take.
pub fn patience() -> Duration {
    if soak() { 10 * PATIENCE } else { 2 * PATIENCE }
}

/// Random numbers that can be had again: the seed is printed, and `GUARDRAIL_SEED` sets it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn roll_out(test: &str) -> Dice {
        let seed = match std::env::var("GUARDRAIL_SEED") {
            Ok(text) => text.parse().unwrap(),
            Err(_) => u64::from_le_bytes(crypto::random::bytes().unwrap()),
        };
        eprintln!("{test}: GUARDRAIL_SEED={seed}");
        Dice(seed)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn millis_below(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// How far a request is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Pending,
    Approved,
    Consumed,
    Recorded,
}

impl End {
    /// What the chain then holds, in its order.
    fn events(self, votes: usize) -> Vec<&'static str> {
        let mut events = vec!["AuthorizationRequested"];
        if self >= End::Approved {
            events.extend(std::iter::repeat_n("VoteCast", votes));
            events.push("AuthorizationApproved");
        }
        if self >= End::Consumed {
            events.push("AuthorizationConsumed");
        }
        if self >= End::Recorded {
            events.push("ExecutionRecorded");
        }
        events
    }

    const fn state(self) -> RequestState {
        match self {
            End::Pending => RequestState::Pending,
            End::Approved => RequestState::Approved,
            End::Consumed => RequestState::Consumed,
            End::Recorded => RequestState::Recorded,
        }
    }
}

/// What a life waits for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Start,
    Request,
    Decision,
    Consumption,
    Record,
    Tidying,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Start => "it started",
            Phase::Request => "the request was on its way",
            Phase::Decision => "the votes were",
            Phase::Consumption => "the consumption was",
            Phase::Record => "the outcome was",
            Phase::Tidying => "it tidied up",
        }
    }
}

/// One request, its approvers and its agent.
#[derive(Clone, Debug)]
pub struct Life {
    pub request: AuthRequest,
    pub end: End,
    pub claim: Sha256Digest,
    secret: ClaimSecret,
    voted: bool,
    pub phase: Phase,
}

impl Life {
    pub fn new(end: End) -> Life {
        Self::of(deployment(), end)
    }

    pub fn of(request: AuthRequest, end: End) -> Life {
        let (secret, claim) = claim();
        Life { request, end, claim, secret, voted: false, phase: Phase::Request }
    }

    /// Publishes the request itself.
    pub fn begin(self, channel: &Channel) -> Life {
        channel.publish_request(&self.request).unwrap();
        self
    }

    pub fn id(&self) -> &RequestId {
        &self.request.request_id
    }

    /// The dev accounts that settle it: one alone, or from 0.9 up one of operations and one of security.
    fn voters(&self) -> &'static [usize] {
        if self.request.risk_score.bps() < 9_000 { &[1] } else { &[1, 2] }
    }

    pub fn kinds(&self) -> Vec<ResponseKind> {
        let all = [ResponseKind::Decision, ResponseKind::Consumed(self.claim), ResponseKind::Recorded];
        let answers = match self.end {
            End::Pending => 0,
            End::Approved => 1,
            End::Consumed => 2,
            End::Recorded => 3,
        };
        all[..answers].to_vec()
    }

    /// What the tool of every life returns.
    pub fn result() -> Value {
        json!({"status": "simulated"})
    }

    fn outcome_hash(&self, id: AuthorizationId) -> Sha256Digest {
        crypto::outcome_hash(id, self.claim, Outcome::Succeeded, &Life::result()).unwrap()
    }

    /// Does what approvers and agent would do now; `true` once nothing is left to do.
    pub fn advance(&mut self, observer: &Observer, ledger: &Ledger) -> bool {
        let channel = &observer.channel;
        let Some(id) = ledger.id_of(self.id()) else { return false };
        if self.end == End::Pending {
            return true;
        }
        self.phase = self.phase.max(Phase::Decision);
        if !self.voted {
            self.approve(observer, id);
        }
        if channel.read_response(self.id(), ResponseKind::Decision).unwrap().is_none() {
            return false;
        }
        if self.end == End::Approved {
            return true;
        }
        self.phase = self.phase.max(Phase::Consumption);
        let message = Incoming::Consume { request_id: self.id().clone(), claim: self.claim };
        if !in_hand(channel, &message) && !answered(channel, self.id(), ResponseKind::Consumed(self.claim)) {
            channel.publish_consume(&consume_message(&self.request, id, self.claim)).unwrap();
        }
        if !answered(channel, self.id(), ResponseKind::Consumed(self.claim)) {
            return false;
        }
        if self.end == End::Consumed {
            return true;
        }
        self.phase = self.phase.max(Phase::Record);
        if !in_hand(channel, &Incoming::Outcome(self.id().clone()))
            && !answered(channel, self.id(), ResponseKind::Recorded)
        {
            channel.publish_outcome(&self.outcome(id)).unwrap();
        }
        answered(channel, self.id(), ResponseKind::Recorded)
    }

    /// Publishes the votes that approve it.
    pub fn approve(&mut self, observer: &Observer, id: AuthorizationId) {
        for index in self.voters() {
            let key = dev(*index);
            let (tool_name, action_hash) = (self.request.tool_name.clone(), self.request.action_hash);
            let digest = crypto::vote_digest(&observer.domain, id, &tool_name, action_hash, true, "");
            let (approver, signature) = (key.address(), key.sign(digest).unwrap());
            let note = "".parse().unwrap();
            let vote = VoteFile { id, tool_name, action_hash, approve: true, note, approver, signature };
            observer.channel.publish_vote(&vote).unwrap();
        }
        self.voted = true;
    }

    fn outcome(&self, id: AuthorizationId) -> OutcomeMessage {
        OutcomeMessage {
            kind: OutcomeKind::Outcome,
            request_id: self.id().clone(),
            authorization_id: id,
            claim_secret: self.secret.clone(),
            outcome: Outcome::Succeeded,
            outcome_hash: self.outcome_hash(id),
            timestamp: Timestamp::now(),
        }
    }
}

/// Whether a message waits for the bridge or is being worked on. Looked at in the order in which
/// it moves, so that one on its way is not overlooked.
fn in_hand(channel: &Channel, message: &Incoming) -> bool {
    channel.requests_dir().join(message.file_name()).exists() || channel.is_taken(message)
}

fn answered(channel: &Channel, id: &RequestId, kind: ResponseKind) -> bool {
    channel.responses_dir().join(kind.file_name(id)).exists()
}

/// Drives lives until nothing is left to do for any of them.
pub fn drive(world: &World, observer: &Observer, lives: &mut [Life]) {
    world.eventually_within(patience(), "every request comes to its end", || {
        let ledger = observer.ledger();
        // Each life is looked at, also after one that is not done.
        let done = lives.iter_mut().filter_map(|life| life.advance(observer, &ledger).then_some(())).count();
        (done == lives.len()).then_some(())
    });
}

/// What the chain recorded, by request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    ids: BTreeMap<RequestId, BTreeSet<AuthorizationId>>,
    events: BTreeMap<AuthorizationId, Vec<&'static str>>,
}

impl Ledger {
    /// Reads every log of the chain.
    pub fn read(rpc: &Rpc) -> Ledger {
        let logs = rpc.call("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "latest"}]));
        let mut ledger = Ledger::default();
        for log in logs.as_array().unwrap() {
            let topics: Vec<B256> = serde_json::from_value(log["topics"].clone()).unwrap();
            let name = match topics[0] {
                abi::AuthorizationRequested::SIGNATURE_HASH => "AuthorizationRequested",
                abi::VoteCast::SIGNATURE_HASH => "VoteCast",
                abi::AuthorizationApproved::SIGNATURE_HASH => "AuthorizationApproved",
                abi::AuthorizationDenied::SIGNATURE_HASH => "AuthorizationDenied",
                abi::AuthorizationCancelled::SIGNATURE_HASH => "AuthorizationCancelled",
                abi::AuthorizationConsumed::SIGNATURE_HASH => "AuthorizationConsumed",
                abi::ExecutionRecorded::SIGNATURE_HASH => "ExecutionRecorded",
                _ => continue,
            };
            let id = AuthorizationId(topics[1]);
            ledger.events.entry(id).or_default().push(name);
            if name == "AuthorizationRequested" {
                let data: Bytes = serde_json::from_value(log["data"].clone()).unwrap();
                let data = LogData::new_unchecked(topics, data);
                let event = abi::AuthorizationRequested::decode_log_data(&data).unwrap();
                ledger.ids.entry(event.requestId.parse().unwrap()).or_default().insert(id);
            }
        }
        ledger
    }

    pub fn id_of(&self, request: &RequestId) -> Option<AuthorizationId> {
        self.ids.get(request)?.first().copied()
    }

    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.ids.len()
    }

    /// The events of every request, one list for each authorization id it has.
    pub fn all_events(&self) -> BTreeMap<RequestId, Vec<Vec<&'static str>>> {
        let events = |ids: &BTreeSet<AuthorizationId>| ids.iter().map(|id| self.events[id].clone()).collect();
        self.ids.iter().map(|(request, ids)| (request.clone(), events(ids))).collect()
    }
}

/// A view of a set-up from outside: its chain, its channel, and the verifier of what comes out.
pub struct Observer {
    pub rpc: Rpc,
    pub channel: Channel,
    domain: SigningDomain,
    verifier: Verifier,
}

impl Observer {
    /// Begins once the contract is deployed.
    pub fn new(world: &World) -> Observer {
        let anchors = world.anchors();
        Observer {
            rpc: Rpc::new(&world.anvil.url),
            channel: world.channel(),
            domain: SigningDomain::new(anchors.chain_id, anchors.contract),
            verifier: Verifier::new(anchors, None).unwrap(),
        }
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::read(&self.rpc)
    }

    /// Waits until the chain holds a request; its authorization id.
    pub fn requested(&self, world: &World, request: &RequestId) -> AuthorizationId {
        world.eventually(&format!("{request} is on the chain"), || self.ledger().id_of(request))
    }

    /// Counts: each life came exactly to its end, on the chain, in `responses/`, in the rest of
    /// the channel and in the journal, and nothing is on its way any more.
    pub fn check(&self, world: &World, lives: &[Life]) {
        let expected: BTreeMap<_, _> =
            lives.iter().map(|life| (life.id().clone(), vec![life.end.events(life.voters().len())])).collect();
        becomes("the chain", &expected, || self.ledger().all_events());
        self.check_channel(world, lives);
        self.check_journal(world, lives);
        // What was on its way is over now, and changed nothing.
        same("the chain, once all is over", &self.ledger().all_events(), &expected);
    }

    fn check_channel(&self, world: &World, lives: &[Life]) {
        let mut answers: Vec<String> =
            lives.iter().flat_map(|life| life.kinds().into_iter().map(|kind| kind.file_name(life.id()))).collect();
        answers.sort();
        same("responses/", &world.files("responses"), &answers);
        let ledger = self.ledger();
        for life in lives {
            self.verify(life, ledger.id_of(life.id()).unwrap());
        }
        let mut waiting: Vec<String> = lives
            .iter()
            .filter(|life| life.end == End::Pending)
            .map(|life| Incoming::Request(life.id().clone()).file_name())
            .collect();
        waiting.sort();
        for (directory, expected) in
            [("requests", &Vec::new()), ("votes", &Vec::new()), ("tmp", &Vec::new()), ("claimed", &waiting)]
        {
            becomes(&format!("{directory}/"), expected, || world.files(directory));
        }
    }

    /// Verifies every answer of a life from its own bytes.
    fn verify(&self, life: &Life, id: AuthorizationId) {
        for kind in life.kinds() {
            let bytes = self.channel.read_response(life.id(), kind).unwrap().unwrap();
            let response = AuthResponse::parse(&bytes).unwrap();
            match kind {
                ResponseKind::Decision => {
                    match self.verifier.verify_decision_at(&life.request, &response, Clock::Audit).unwrap() {
                        VerifiedDecision::Approved(approval) => assert_eq!(approval.authorization_id(), id),
                        VerifiedDecision::Denied(denial) => panic!("{}: {denial:?}", life.id()),
                    }
                }
                ResponseKind::Consumed(claim) => {
                    self.verifier.consumption(&life.request, id, claim, &response, Clock::Audit).unwrap();
                }
                ResponseKind::Recorded => {
                    let hash = life.outcome_hash(id);
                    self.verifier.verify_recorded(&life.request, id, Outcome::Succeeded, hash, &response).unwrap();
                }
            }
        }
    }

    fn check_journal(&self, world: &World, lives: &[Life]) {
        let states: Vec<RequestState> = lives.iter().map(|life| life.end.state()).collect();
        let open = states.iter().filter(|state| state.is_open()).count();
        becomes("the journal's states", &(states_of(&states), json!(open), json!([])), || {
            let mut status = status(world);
            (status["states"].take(), status["open"].take(), status["nonce"]["open"].take())
        });
    }
}

/// How many requests are in each of the states.
pub fn states_of(states: &[RequestState]) -> Value {
    let count = |state| states.iter().filter(|other| **other == state).count();
    RequestState::ALL.into_iter().map(|state| (state.as_str().to_owned(), json!(count(state)))).collect()
}

/// What `guardrail bridge status --json` says.
pub fn status(world: &World) -> Value {
    serde_json::from_str(&world.ok(&["bridge", "status", "--json"])).unwrap()
}

/// The alarms that are on, of a status or of the health page.
pub fn alarms(status: &Value) -> Vec<String> {
    let active = status["alarms"].as_array().unwrap_or_else(|| panic!("no alarms in {status}"));
    active.iter().map(|alarm| alarm["alarm"].as_str().unwrap().to_owned()).collect()
}

/// Waits until exactly these alarms are on.
pub fn alarms_become(world: &World, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    becomes("the alarms", &expected, || alarms(&status(world)));
}

/// Waits until a value is the expected one; what differs is shown where that does not come to pass.
pub fn becomes<T: PartialEq + Debug>(what: &str, expected: &T, mut look: impl FnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found == *expected {
            return;
        }
        if Instant::now() > deadline {
            return same(what, &found, expected);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Compares two values, and shows of long ones what differs.
pub fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) {
    if found == expected {
        return;
    }
    let lines = |value: &T| format!("{value:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (found, expected) = (lines(found), lines(expected));
    let first = found.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    let around = |lines: &[String]| lines[first.saturating_sub(20)..lines.len().min(first + 20)].join("\n");
    panic!(
        "{what}: {} lines, expected are {}; from line {first} on they differ\nfound:\n{}\nexpected:\n{}",
        found.len(),
        expected.len(),
        around(&found),
        around(&expected)
    );
}

/// A port of this host that nothing listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
