//! A channel, a state directory and a chain of one half's own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use guardrail::bridge::BridgeConfig;
use guardrail::channel::{Channel, Incoming};
use guardrail::schema::VoteFile;

use crate::fixture::{LIFETIME_S, Ledger, Prepared, Scratch, project};

pub struct Site {
    pub ledger: Ledger,
    pub channel: Channel,
    scratch: Scratch,
}

impl Site {
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let channel = Channel::open(&scratch.path("channel"))?;
        Ok(Site { ledger: Ledger::start()?, channel, scratch })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// The shipped configuration, with requests that outlive the runs.
    pub fn config(&self) -> Result<BridgeConfig> {
        let mut config: BridgeConfig =
            guardrail::config::load_yaml(&project().join("config/bridge_config.yaml"), "GUARDRAIL_BRIDGE")?;
        config.requests.authorization_timeout_s = LIFETIME_S;
        Ok(config)
    }

    /// Renames a request in, its content synced before; the moment of the rename.
    pub fn send_request(&self, request: &Prepared) -> Result<Instant> {
        self.send(&self.channel.requests_dir().join(request.file_name()), &request.bytes)
    }

    /// As [`Site::send_request`], for a vote.
    pub fn send_vote(&self, vote: &VoteFile) -> Result<Instant> {
        let name = Incoming::Vote { id: vote.id, approver: vote.approver }.file_name();
        self.send(&self.channel.votes_dir().join(name), &serde_json::to_vec(vote)?)
    }

    fn send(&self, target: &Path, bytes: &[u8]) -> Result<Instant> {
        rename_in(&self.channel.root().join("tmp/sample"), target, bytes)
    }

    /// Puts many requests in place before a bridge is there, and has the disk come to rest.
    pub fn fill(&self, requests: &[Prepared]) -> Result<()> {
        write_all(&self.channel.requests_dir(), requests)
    }
}

/// Writes and syncs a file, then renames it to its place; the moment of the rename.
pub fn rename_in(temporary: &Path, target: &Path, bytes: &[u8]) -> Result<Instant> {
    let mut file = File::create(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    let at = Instant::now();
    std::fs::rename(temporary, target)?;
    Ok(at)
}

/// Writes requests into a directory and syncs its file system.
pub fn write_all(dir: &Path, requests: &[Prepared]) -> Result<()> {
    for request in requests {
        let path = dir.join(request.file_name());
        std::fs::write(&path, &request.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}
