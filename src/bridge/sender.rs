//! Sends what is journalled: one task, one transaction after the other, in the order of nonces.
//!
//! Nodes may leave a transaction queued for ever that came before the one below it, so two are
//! never on the wire at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{B256, Bytes};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionReceipt;
use alloy::transports::RpcError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::endpoints::ChainClient;
use super::journal::ItemKind;
use super::rpc::{SendOutcome, classify_send};
use crate::crash;

/// How long `eth_sendRawTransactionSync` (EIP-7966) may hold up what comes after it.
const INSTANT: Duration = Duration::from_millis(500);
/// How long the plain method is used after a chain took longer than that.
const NOT_INSTANT: Duration = Duration::from_secs(60);
const METHOD_NOT_FOUND: i64 = -32601;

/// A transaction to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub nonce: u64,
    pub tx_hash: B256,
    pub raw: Bytes,
    pub kind: ItemKind,
    /// Nothing else is on its way, so its receipt may be waited for.
    pub alone: bool,
}

/// What an endpoint said of it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub nonce: u64,
    pub tx_hash: B256,
    pub kind: ItemKind,
    /// As it was handed in.
    pub alone: bool,
    pub outcome: SendOutcome,
    /// It is mined already.
    pub receipt: Option<Arc<TransactionReceipt>>,
}

/// The sending task, for as long as this value lives.
pub struct Sender {
    queue: mpsc::UnboundedSender<Outgoing>,
    task: JoinHandle<()>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sender {
    /// Starts the task. `done` hears of every transaction that was handed in. The queue holds no
    /// more than the nonces that are open.
    pub fn start(client: ChainClient, done: impl Fn(Sent) + Send + 'static) -> Self {
        let (queue, mut waiting) = mpsc::unbounded_channel::<Outgoing>();
        let task = tokio::spawn(
            async move {
                let mut waits = Waits::new(client.is_single());
                while let Some(outgoing) = waiting.recv().await {
                    crash::point("send.before");
                    let began = Instant::now();
                    let (outcome, receipt) = if outgoing.alone && waits.are_short() {
                        send_and_wait(&client, &outgoing, &mut waits).await
                    } else {
                        (send(&client, &outgoing).await, None)
                    };
                    super::metrics::send(began.elapsed());
                    crash::point("send.after");
                    let Outgoing { nonce, tx_hash, kind, alone, .. } = outgoing;
                    done(Sent { nonce, tx_hash, kind, alone, outcome, receipt });
                }
            }
            .in_current_span(),
        );
        Sender { queue, task }
    }

    /// Hands a transaction to the task; what is journalled is also sent again after a restart,
    /// so one that a task at its end does not take is not lost.
    pub fn send(&self, outgoing: Outgoing) {
        if self.queue.send(outgoing).is_err() {
            tracing::error!(target: "guardrail::bridge", "the sending task has ended");
        }
    }
}

async fn send(client: &ChainClient, outgoing: &Outgoing) -> SendOutcome {
    classify_send(client.provider().send_raw_transaction(&outgoing.raw).await)
}

/// Whether a receipt may be waited for.
struct Waits {
    /// The one endpoint has the method.
    possible: bool,
    not_before: Option<Instant>,
}

impl Waits {
    fn new(possible: bool) -> Self {
        Waits { possible, not_before: None }
    }

    fn are_short(&self) -> bool {
        self.possible && self.not_before.is_none_or(|until| until <= Instant::now())
    }
}

async fn send_and_wait(
    client: &ChainClient,
    outgoing: &Outgoing,
    waits: &mut Waits,
) -> (SendOutcome, Option<Arc<TransactionReceipt>>) {
    let provider = client.provider().client();
    let asked = provider.request("eth_sendRawTransactionSync", (outgoing.raw.clone(),));
    let answer: Result<TransactionReceipt, _> = match tokio::time::timeout(INSTANT, asked).await {
        Ok(answer) => answer,
        Err(_) => {
            waits.not_before = Some(Instant::now() + NOT_INSTANT);
            let what = format!("not mined within {} ms", INSTANT.as_millis());
            return (SendOutcome::PossiblySent(what), None);
        }
    };
    match answer {
        Ok(receipt) => (SendOutcome::Accepted, Some(Arc::new(receipt))),
        Err(RpcError::ErrorResp(payload)) if payload.code == METHOD_NOT_FOUND => {
            waits.possible = false;
            (send(client, outgoing).await, None)
        }
        Err(error) => (classify_send::<()>(Err(error)), None),
    }
}
