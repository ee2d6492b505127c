//! A running bridge: in this process, where its progress carries moments, or in one of its own.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use guardrail::bridge::{Bridge, BridgeError, BridgeKeys, ChainClient, ContractPlace, Progress, StopReason, Until};
use guardrail::channel::Inbox;
use guardrail::crypto::SigningKey;
use guardrail::schema::{LedgerKind, RequestId, RequestState};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::site::Site;
use crate::fixture::{LIFETIME_S, dev, project};
use crate::harness::value_of;

/// Longer than anything here takes; what reaches it has hung.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// As many as the `guardrail` program has.
const WORKER_THREADS: usize = 2;

/// A bridge in this process, told to stop when it is dropped.
pub struct Running {
    /// When it was told to run.
    pub started: Instant,
    progress: UnboundedReceiver<(Instant, Progress)>,
    task: JoinHandle<Result<StopReason, BridgeError>>,
    stop: CancellationToken,
    runtime: Runtime,
}

impl Running {
    pub fn start(site: &Site) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
        let mut bridge = runtime.block_on(prepare(site))?;
        let progress = bridge.observe();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let started = Instant::now();
        let task = runtime.spawn(async move { bridge.run(Until::Stopped, &stopped).await });
        Ok(Running { started, progress, task, stop, runtime })
    }

    /// Waits for progress that answers `look`; when it was made, and the answer.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(Instant, &Progress) -> Option<T>,
    ) -> Result<(Instant, T)> {
        let Running { runtime, progress, task, .. } = self;
        runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            loop {
                match tokio::time::timeout_at(deadline, progress.recv()).await {
                    Ok(Some((at, made))) => {
                        if let Some(found) = look(at, &made) {
                            return Ok((at, found));
                        }
                    }
                    Ok(None) => bail!("the bridge ended before {what}: {:?}", task.await),
                    Err(_) => bail!("it never came to pass: {what}"),
                }
            }
        })
    }

    /// When the bridge saw the receipt of a request's transaction.
    pub fn pending(&mut self, id: &RequestId) -> Result<Instant> {
        let seen = |_, made: &Progress| match made {
            Progress::OnChain(seen, RequestState::Pending) => (seen == id).then_some(()),
            _ => None,
        };
        Ok(self.until("a request is on chain", seen)?.0)
    }

    /// When the bridge saw the last receipt of this many requests.
    pub fn all_pending(&mut self, count: usize) -> Result<Instant> {
        let mut pending = HashSet::with_capacity(count);
        let seen = |_, made: &Progress| {
            if let Progress::OnChain(id, RequestState::Pending) = made {
                pending.insert(id.clone());
            }
            (pending.len() == count).then_some(())
        };
        Ok(self.until("all requests are on chain", seen)?.0)
    }

    /// Forgets the progress made so far.
    pub fn forget(&mut self) {
        while self.progress.try_recv().is_ok() {}
    }

    /// Waits until the bridge has come to an orderly end.
    pub fn stop(self) -> Result<()> {
        self.stop.cancel();
        match self.runtime.block_on(self.task)?? {
            StopReason::Finished => Ok(()),
            other @ (StopReason::Deadline { .. } | StopReason::Drained) => bail!("the bridge stopped with {other:?}"),
        }
    }
}

async fn prepare(site: &Site) -> Result<Bridge> {
    let config = site.config()?;
    let lock_timeout = Duration::from_secs(config.channel.lock_timeout_s);
    let inbox = Inbox::take(site.channel.clone(), lock_timeout)?;
    let keys = BridgeKeys { requester: SigningKey::dev(dev::REQUESTER)?, signer: SigningKey::dev(dev::SIGNER)? };
    let chain = ChainClient::connect(&[site.ledger.url()], Duration::from_millis(config.chain.call_timeout_ms))?;
    let place = ContractPlace { ledger: LedgerKind::Evm, contract: site.ledger.contract, first_block: 0 };
    Ok(Bridge::start(config, keys, inbox, &site.path("journal.sqlite"), chain, place).await?)
}

/// `guardrail bridge`, killed when it is dropped.
pub struct BridgeProcess(Child);

impl BridgeProcess {
    /// Starts it and waits until it says that it is ready; how long that took.
    pub fn start(site: &Site) -> Result<(Self, Duration)> {
        let begun = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_guardrail"))
            .arg("bridge")
            .current_dir(project())
            .env("GUARDRAIL_CHANNEL", site.channel.root())
            .env("GUARDRAIL_STATE_DIR", site.path("state"))
            .env("GUARDRAIL_LOCK_DIR", site.path("locks"))
            .env("GUARDRAIL_RPC_URL", site.ledger.url())
            .env("GUARDRAIL_BRIDGE__REQUESTS__AUTHORIZATION_TIMEOUT_S", LIFETIME_S.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut process = BridgeProcess(child);
        let mut lines = BufReader::new(process.0.stderr.take().context("it has no stderr")?).lines();
        let mut last = String::new();
        for line in lines.by_ref() {
            last = line?;
            if last.starts_with("bridge ready") {
                let took = begun.elapsed();
                // A full pipe would stop it, so it is read to the end.
                std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
                return Ok((process, took));
            }
        }
        bail!("the bridge ended before it was ready: {last}")
    }

    /// Its resident memory, in MiB.
    pub fn resident_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let resident = status.lines().find_map(|line| value_of(line, "VmRSS")?.strip_suffix(" kB"));
        Ok(resident.context("no resident memory in its status")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for BridgeProcess {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
