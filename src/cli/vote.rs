use std::path::PathBuf;

use alloy::primitives::B256;
use alloy::providers::RootProvider;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;

use super::context::{Globals, Located, dev, load_key};
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::pending::describe;
use super::requests::{self, OnChain};
use super::transact;
use crate::contract;
use crate::crypto::{self, SigningDomain, SigningKey, abi};
use crate::schema::anchors::{DEV_CHAIN_ID, EpochAnchors};
use crate::schema::message::Note;
use crate::schema::{AuthRequest, LedgerKind, VoteFile};

/// The key that signs, and how the vote travels.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The approver's key, 64 hex digits in a file; else $GUARDRAIL_APPROVER_KEY
    #[arg(long, value_name = "FILE", group = "key")]
    pub key_file: Option<PathBuf>,
    /// The approver's key in an encrypted keystore (web3 secret storage); password in $GUARDRAIL_KEYSTORE_PASSWORD
    #[arg(long, value_name = "FILE", group = "key")]
    pub keystore: Option<PathBuf>,
    /// One of Anvil's dev accounts, on the dev chain alone
    #[arg(long, value_name = "N", group = "key")]
    pub dev_account: Option<usize>,
    /// Send the vote as a transaction of the approver's own, instead of a signature for the bridge to carry
    #[arg(long)]
    pub on_chain: bool,
}

/// Approve a request: sign a vote for exactly what `guardrail show` shows
///
/// On Anvil's dev chain, without a key, as many of the dev approvers sign as the quorum needs.
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    /// Request id or authorization id, or the beginning or end of one
    pub id: String,
    /// A condition of the approval; may be given more than once
    #[arg(long = "condition", value_name = "TEXT")]
    pub conditions: Vec<String>,
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Deny a request; one denial ends it
#[derive(Debug, clap::Args)]
pub struct DenyArgs {
    /// Request id or authorization id, or the beginning or end of one
    pub id: String,
    /// Why, for the agent and for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub key: KeyArgs,
}

pub async fn approve(globals: &Globals, args: &ApproveArgs) -> Result<Exit, CommandError> {
    decide(globals, &args.id, true, &args.conditions.join("\n"), &args.key).await
}

pub async fn deny(globals: &Globals, args: &DenyArgs) -> Result<Exit, CommandError> {
    decide(globals, &args.id, false, &args.reason, &args.key).await
}

async fn decide(globals: &Globals, id: &str, approve: bool, note: &str, key: &KeyArgs) -> Result<Exit, CommandError> {
    let note: Note = note.parse().map_err(|e| CommandError::message(Exit::Usage, e))?;
    let (provider, located, chain_id) = requests::open(globals).await?;
    let found = requests::find(&provider, located, id).await?;
    // An approval can still be followed by a denial, until it is consumed.
    let open = found.waits() || (!approve && found.status == abi::ChainStatus::Approved);
    if !open {
        return Err(CommandError::message(Exit::Usage, format!("the request is {} already", found.status.as_str())));
    }
    let channel = globals.open_channel()?;
    let request = found.read_request(&channel)?;
    let epoch = contract::read_epoch(&provider, located.contract).await.map_err(crate::bridge::BridgeError::from)?;
    let ledger = globals.ledger();
    eprintln!("{}{}", mock::heading(ledger), describe(&found, &request, &epoch));
    let on_chain = key.on_chain;
    let keys = approver_keys(key, chain_id, approve, &request, &epoch)?;
    let word = if approve { "approve" } else { "deny" };
    let ballot = Ballot { ledger, chain_id, located, found: &found, request: &request, approve, note: &note };
    let suffix = mock::suffix(ledger);
    for key in keys {
        let voter = key.address();
        let role = epoch.role_of(voter).ok_or_else(|| {
            CommandError::message(Exit::Usage, format!("{voter} is no approver of epoch {}", epoch.epoch))
        })?;
        if on_chain {
            let hash = ballot.send(&provider, &key).await?;
            outln!("{word}: {voter} ({role}), in transaction {hash}{suffix}")?;
        } else {
            channel.publish_vote(&ballot.sign(&key)?)?;
            outln!("{word}: {voter} ({role}), signed and handed to the bridge{suffix}")?;
        }
    }
    Ok(Exit::Done)
}

/// What is voted on and how: over a request whose content was read and checked.
pub struct Ballot<'a> {
    pub ledger: LedgerKind,
    pub chain_id: u64,
    pub located: Located,
    pub found: &'a OnChain,
    pub request: &'a AuthRequest,
    pub approve: bool,
    pub note: &'a Note,
}

impl Ballot<'_> {
    /// A signature for the bridge to carry.
    pub fn sign(&self, key: &SigningKey) -> Result<VoteFile, CommandError> {
        let Ballot { found, request, approve, note, .. } = *self;
        let domain = SigningDomain::of(self.ledger, self.chain_id, self.located.contract);
        let digest =
            crypto::vote_digest(&domain, found.id, &request.tool_name, request.action_hash, approve, note.as_str());
        Ok(VoteFile {
            id: found.id,
            tool_name: request.tool_name.clone(),
            action_hash: request.action_hash,
            approve,
            note: note.clone(),
            approver: key.address(),
            signature: key.sign(digest).or_exit(Exit::Failed)?,
        })
    }

    /// The approver's own transaction.
    async fn send(&self, provider: &RootProvider, key: &SigningKey) -> Result<B256, CommandError> {
        let Ballot { found, request, approve, note, .. } = *self;
        let r = crypto::hash::chain_request(request, found.requester, found.expires_at_s, found.epoch)
            .or_exit(Exit::Failed)?;
        let call = abi::voteCall { r, approve, note: note.as_str().to_owned() };
        transact::send(provider, key, self.located.contract, call.abi_encode().into()).await
    }
}

fn approver_keys(
    args: &KeyArgs,
    chain_id: u64,
    approve: bool,
    request: &AuthRequest,
    epoch: &EpochAnchors,
) -> Result<Vec<SigningKey>, CommandError> {
    if let Some(path) = &args.keystore {
        let password = std::env::var("GUARDRAIL_KEYSTORE_PASSWORD").map_err(|_| {
            CommandError::message(Exit::Usage, "a keystore needs its password").hint("set GUARDRAIL_KEYSTORE_PASSWORD")
        })?;
        let signer = PrivateKeySigner::decrypt_keystore(path, password)
            .map_err(|e| CommandError::message(Exit::Usage, format!("cannot open {}: {e}", path.display())))?;
        return Ok(vec![SigningKey::from_signer(signer).for_chain(chain_id).or_exit(Exit::Usage)?]);
    }
    if let Some(key) = load_key(args.key_file.as_deref(), "GUARDRAIL_APPROVER_KEY", args.dev_account, chain_id)? {
        return Ok(vec![key]);
    }
    if chain_id != DEV_CHAIN_ID {
        return Err(CommandError::message(Exit::Usage, "no key to sign with")
            .hint("give --keystore FILE, --key-file FILE or $GUARDRAIL_APPROVER_KEY"));
    }
    let keys = dev_quorum(approve, request, epoch)?;
    let names: Vec<String> = keys.iter().map(|key| key.address().to_string()).collect();
    eprintln!("no key given: signing with Anvil's public dev keys of {}", names.join(" and "));
    Ok(keys)
}

/// The fewest dev approvers that settle a request: one to deny, the policy line's quorum to approve.
pub fn dev_quorum(approve: bool, request: &AuthRequest, epoch: &EpochAnchors) -> Result<Vec<SigningKey>, CommandError> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for index in dev::APPROVERS {
        keys.push(SigningKey::dev(index).or_exit(Exit::Failed)?);
        let voters: Vec<_> = keys.iter().map(SigningKey::address).collect();
        if !approve || epoch.line_for(request.risk_score).is_some_and(|line| epoch.quorum_met(line, &voters)) {
            return Ok(keys);
        }
    }
    Err(CommandError::message(Exit::Usage, "the dev approvers do not meet this contract's quorum")
        .hint("give the approvers' own keys with --key-file"))
}
