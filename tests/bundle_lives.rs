//! Bundles of every kind, exported from what real agents kept of a real bridge's answers on a real chain.

use std::path::{Path, PathBuf};

use guardrail::channel::ResponseKind;
use guardrail::crypto::{self, SigningDomain, SigningKey};
use guardrail::evidence::bundle::{Bundle, BundleAnchors};
use guardrail::evidence::{BundleFailure, Verifier};
use guardrail::schema::{AuthRequest, AuthResponse, AuthorizationId, RequestId, TrustAnchors, VoteFile};
use serde_json::json;

use crate::support::{Agent, Process, World, dev, request};

const DEPLOY: &str = "Deploy the fix to production";
const DELETE: &str = "Delete the users database";
const TIMEOUT: &str = "GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S";
/// Items of one deciding transaction, PROTOCOL section 5.
pub const BATCH: usize = 32;

/// A chain with a bridge, and the anchors that a stranger pins.
pub struct Lives {
    pub world: World,
    pub bridge: Process,
    pub anchors_path: PathBuf,
    pub anchors: TrustAnchors,
}

/// Where a bundle fails: in which of its responses (or as a file, step 0) and at which step.
pub type Place = (String, u64);

impl Lives {
    pub fn new() -> Lives {
        let (world, bridge) = World::with_bridge();
        world.workspace();
        let mut lives = Lives { anchors: world.anchors(), anchors_path: world.path("pinned.json"), world, bridge };
        lives.pin();
        lives
    }

    /// Pins what the chain says now.
    pub fn pin(&mut self) {
        self.anchors = self.world.anchors();
        std::fs::write(&self.anchors_path, serde_json::to_vec(&self.anchors).unwrap()).unwrap();
    }

    /// What `guardrail evidence export` writes of a request.
    pub fn export(&self, id: &RequestId) -> Vec<u8> {
        let anchors = self.anchors_path.to_str().unwrap();
        self.world.ok(&["evidence", "export", id.as_str(), "--anchors", anchors]).into_bytes()
    }

    /// Approved by signatures, consumed, done, recorded.
    pub fn approved(&self) -> Vec<u8> {
        self.deployed(|id| {
            self.world.ok(&["approve", id.as_str(), "--dev-account", "1", "--condition", "canary first\n\nnotify ops"]);
            self.world.ok(&["approve", id.as_str(), "--dev-account", "2"]);
        })
    }

    /// The same by the approvers' own transactions.
    pub fn approved_on_chain(&self) -> Vec<u8> {
        self.deployed(|id| {
            self.world.ok(&["approve", id.as_str(), "--dev-account", "3", "--on-chain"]);
            self.world.ok(&["approve", id.as_str(), "--dev-account", "2", "--on-chain", "--condition", "one region"]);
        })
    }

    pub fn deployed(&self, decide: impl FnOnce(&RequestId)) -> Vec<u8> {
        let mut agent = self.world.agent(&["--prompt", DEPLOY]);
        let (id, _) = agent.waits();
        self.world.pending_id(&id);
        decide(&id);
        agent.end().exited(0);
        self.export(&id)
    }

    pub fn denied(&self) -> Vec<u8> {
        let mut agent = self.world.agent(&["--prompt", DELETE]);
        let (id, _) = agent.waits();
        self.world.pending_id(&id);
        self.world.ok(&["deny", id.as_str(), "--reason", "cancelled: until the freeze is over"]);
        agent.end().exited(3);
        self.export(&id)
    }

    pub fn cancelled(&self) -> Vec<u8> {
        let mut agent = self.world.agent(&["--prompt", DEPLOY]);
        let (id, _) = agent.waits();
        self.world.pending_id(&id);
        self.world.ok(&["cancel", id.as_str(), "--reason", "superseded"]);
        agent.end().exited(3);
        self.export(&id)
    }

    /// Nobody decides: a bridge that lets requests live for three seconds takes the place of the other.
    pub fn expired(&mut self) -> Vec<u8> {
        self.bridge.interrupt();
        self.bridge = self.world.bridge_with(&[(TIMEOUT, "3")]);
        let mut command = self.world.agent_command(&["--prompt", DEPLOY]);
        command.env(TIMEOUT, "3").env("GUARDRAIL_TOOLS__TIMEOUTS__AUTHORIZATION_TIMEOUT", "3");
        let mut agent = Agent::follow(command);
        let (id, _) = agent.waits();
        agent.end().exited(4);
        self.bridge.interrupt();
        self.bridge = self.world.bridge();
        self.export(&id)
    }

    /// Requests that one transaction approves: their votes come while no bridge looks.
    pub async fn batch(&mut self) -> Vec<Vec<u8>> {
        let (world, channel) = (&self.world, self.world.channel());
        let requests: Vec<AuthRequest> = (0..BATCH)
            .map(|n| request("deploy_to_production", 0.8, json!({"branch": format!("release-{n}")})))
            .collect();
        for request in &requests {
            channel.publish_request(request).unwrap();
        }
        let ids: Vec<AuthorizationId> = requests.iter().map(|request| world.pending_id(&request.request_id)).collect();
        self.bridge.kill();
        for (request, id) in requests.iter().zip(&ids) {
            channel.publish_vote(&self.vote(request, *id, &dev(1))).unwrap();
        }
        self.bridge = self.world.bridge();
        let mut responses = Vec::new();
        for request in &requests {
            responses.push(self.world.response(&request.request_id, ResponseKind::Decision).await);
        }
        let transaction = responses[0].blockchain_tx_hash;
        assert!(responses.iter().all(|response| response.blockchain_tx_hash == transaction), "they are no one batch");
        requests.into_iter().zip(responses).map(|(request, response)| self.bundle(request, response)).collect()
    }

    /// A bundle of a decision that no agent kept.
    pub fn bundle(&self, request: AuthRequest, decision: AuthResponse) -> Vec<u8> {
        let anchors = BundleAnchors::of(&self.anchors, decision.evidence.as_ref().unwrap().epoch).unwrap();
        Bundle { request, anchors, decision, consumption: None, outcome: None }.canonical().unwrap()
    }

    pub fn domain(&self) -> SigningDomain {
        SigningDomain::new(self.anchors.chain_id, self.anchors.contract)
    }

    /// An approval without conditions, as its own key signs it.
    pub fn vote(&self, request: &AuthRequest, id: AuthorizationId, key: &SigningKey) -> VoteFile {
        let digest = crypto::vote_digest(&self.domain(), id, &request.tool_name, request.action_hash, true, "");
        VoteFile {
            id,
            tool_name: request.tool_name.clone(),
            action_hash: request.action_hash,
            approve: true,
            note: "".parse().unwrap(),
            approver: key.address(),
            signature: key.sign(digest).unwrap(),
        }
    }

    /// What Guardrail's own verifier says of a file with no network: nothing, or where it fails and why.
    pub fn own_verdict(&self, bytes: &[u8]) -> Option<(Place, String)> {
        let bundle = match Bundle::parse(bytes) {
            Ok(bundle) => bundle,
            Err(refusal) => return Some((("bundle".to_owned(), 0), refusal.to_string())),
        };
        let verifier = Verifier::new(self.anchors.clone(), None).unwrap();
        verifier.check_bundle_offline(&bundle).failure().map(|failure| {
            let place = match &failure {
                BundleFailure::Anchors(_) => ("bundle".to_owned(), 0),
                BundleFailure::Response { response, failure } => ((*response).to_owned(), u64::from(failure.step)),
            };
            (place, failure.to_string())
        })
    }
}

/// Writes files that a checker is to read.
pub fn write_all<'a>(directory: &Path, files: impl Iterator<Item = (String, &'a [u8])>) -> Vec<PathBuf> {
    std::fs::create_dir_all(directory).unwrap();
    files
        .map(|(name, bytes)| {
            let path = directory.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect()
}
