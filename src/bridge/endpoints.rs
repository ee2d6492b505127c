//! The endpoints of one chain as one transport: what is sent goes to all of them, what is read
//! is decided from one, and another takes over where that one fails.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::eips::BlockNumberOrTag;
use alloy::network::Ethereum;
use alloy::primitives::B256;
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::client::{BuiltInConnectionString, RpcClient, RpcClientInner};
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::http::{Http, reqwest};
use alloy::transports::{BoxTransport, HttpError, RpcError, TransportError, TransportErrorKind, TransportFut};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinHandle, JoinSet};
use tower::Service;

use super::BridgeError;
use super::circuit::{Circuit, CircuitState};
use super::identity::ChainIdentity;
use super::live::{ShownUrl, without_key};
use super::rpc::{SendOutcome, classify_text};
use crate::crypto::random;

/// Endpoints of one bridge.
pub const ENDPOINTS_MAX: usize = 8;
/// How long an endpoint is left alone that says it is asked too much and not for how long.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(1);
/// First and longest wait before a subscription is tried again.
const RESUBSCRIBE_FIRST: Duration = Duration::from_millis(500);
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(30);
const SEND_RAW: &str = "eth_sendRawTransaction";

/// A chain, by however many endpoints.
#[derive(Clone)]
pub struct ChainClient {
    provider: RootProvider,
    pool: Arc<Pool>,
    heads: Arc<Heads>,
}

/// How an endpoint does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    pub url: ShownUrl,
    pub state: CircuitState,
    pub failures: u32,
    pub last_error: Option<String>,
}

struct Pool {
    endpoints: Vec<Endpoint>,
    /// The one that reads are decided from, as long as it works.
    current: AtomicUsize,
    call_timeout: Duration,
}

struct Endpoint {
    url: ShownUrl,
    /// As it was given: errors may repeat it, and its secrets are cut from them.
    address: String,
    connection: BuiltInConnectionString,
    transport: tokio::sync::Mutex<Option<BoxTransport>>,
    circuit: Mutex<Circuit>,
    /// A task tries whether it is back.
    trying: AtomicBool,
}

/// Tells that some endpoint announced a block.
struct Heads {
    hint: Arc<Notify>,
    subscribed: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Heads {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl ChainClient {
    /// Prepares the endpoints, the preferred one first; each is connected when it is first asked.
    ///
    /// # Errors
    /// [`BridgeError::Setup`] for an address that is none.
    pub fn connect(urls: &[String], call_timeout: Duration) -> Result<Self, BridgeError> {
        if urls.is_empty() || urls.len() > ENDPOINTS_MAX {
            return Err(BridgeError::Setup(format!("{} endpoints, from 1 to {ENDPOINTS_MAX} are allowed", urls.len())));
        }
        let mut endpoints = Vec::with_capacity(urls.len());
        for url in urls {
            let connection: BuiltInConnectionString = url
                .parse()
                .map_err(|_| BridgeError::Setup(format!("{} is no address of an endpoint", ShownUrl::new(url))))?;
            endpoints.push(Endpoint {
                url: ShownUrl::new(url),
                address: url.clone(),
                connection,
                transport: tokio::sync::Mutex::new(None),
                circuit: Mutex::default(),
                trying: AtomicBool::new(false),
            });
        }
        let pool = Arc::new(Pool { endpoints, current: AtomicUsize::new(0), call_timeout });
        let provider = RootProvider::new(client(PoolTransport { pool: Arc::clone(&pool), only: None }));
        Ok(ChainClient { provider, heads: Arc::new(Heads::subscribe(&pool)), pool })
    }

    /// All endpoints as one.
    pub fn provider(&self) -> &RootProvider {
        &self.provider
    }

    /// Whether a single endpoint answers, so that what it says of a transaction it says of the one broadcast.
    pub fn is_single(&self) -> bool {
        self.pool.endpoints.len() == 1
    }

    /// Waits until a subscription announces a block; for ever where no endpoint has subscriptions.
    pub async fn new_head(&self) {
        self.heads.hint.notified().await;
    }

    /// Whether blocks are announced at the moment, so that polling can be slow.
    pub fn is_subscribed(&self) -> bool {
        self.heads.subscribed.load(Ordering::Relaxed) > 0
    }

    pub fn health(&self) -> Vec<EndpointHealth> {
        let now = Instant::now();
        self.pool.endpoints.iter().map(|endpoint| endpoint.health(now)).collect()
    }

    /// What every endpoint that works says of one question of chain identity or of a block, by itself.
    pub fn each(&self) -> Vec<(ShownUrl, RootProvider)> {
        (0..self.pool.endpoints.len())
            .map(|index| {
                let client = client(PoolTransport { pool: Arc::clone(&self.pool), only: Some(index) });
                (self.pool.endpoints[index].url.clone(), RootProvider::<Ethereum>::new(client))
            })
            .collect()
    }

    /// Tries the endpoints whose pause is over, each in a task of its own: a question of others
    /// might never come to them. One that serves another chain is left alone further.
    pub fn try_again(&self, identity: &ChainIdentity) {
        let now = Instant::now();
        for (index, (_, provider)) in self.each().into_iter().enumerate() {
            let endpoint = &self.pool.endpoints[index];
            if endpoint.health(now).state != CircuitState::HalfOpen || endpoint.trying.swap(true, Ordering::Relaxed) {
                continue;
            }
            let (pool, identity) = (Arc::clone(&self.pool), identity.clone());
            tokio::spawn(async move {
                let endpoint = &pool.endpoints[index];
                match identity.check(&provider).await {
                    Ok(()) => {
                        tracing::info!(target: "guardrail::bridge", endpoint = %endpoint.url, "the endpoint is back")
                    }
                    Err(error @ BridgeError::Identity(_)) => {
                        tracing::error!(target: "guardrail::bridge", endpoint = %endpoint.url, %error, "the endpoint came back with another chain");
                        endpoint.circuit().condemn(Instant::now(), error.to_string());
                    }
                    Err(error) => {
                        tracing::debug!(target: "guardrail::bridge", endpoint = %endpoint.url, %error, "the endpoint is not back");
                    }
                }
                endpoint.trying.store(false, Ordering::Relaxed);
            });
        }
    }

    /// The first endpoint that has another block at this height than `hash`. One that is not
    /// that far, or does not answer, contradicts nothing.
    pub async fn contradiction(&self, number: u64, hash: B256) -> Option<(ShownUrl, B256)> {
        if self.is_single() {
            return None;
        }
        let now = Instant::now();
        let mut questions = JoinSet::new();
        for (index, (url, provider)) in self.each().into_iter().enumerate() {
            if self.pool.endpoints[index].health(now).state == CircuitState::Closed {
                questions.spawn(async move {
                    let block = provider.get_block_by_number(BlockNumberOrTag::Number(number)).await;
                    (url, block.ok().flatten().map(|block| block.header.hash))
                });
            }
        }
        while let Some(answer) = questions.join_next().await {
            if let Ok((url, Some(other))) = answer
                && other != hash
            {
                return Some((url, other));
            }
        }
        None
    }
}

/// A client with request ids of its own: clients may share one connection, where ids must differ.
fn client(transport: impl alloy::transports::IntoBoxTransport) -> RpcClient {
    static CLIENTS: AtomicU64 = AtomicU64::new(0);
    let first_id = CLIENTS.fetch_add(1, Ordering::Relaxed) << 40;
    RpcClient::from_inner(RpcClientInner::new(transport, false).with_id(first_id))
}

fn random_share() -> f64 {
    random::bytes::<1>().map_or(0.5, |[byte]| f64::from(byte) / 255.0)
}

impl Heads {
    /// Subscribes at every endpoint that has subscriptions; HTTP has none.
    fn subscribe(pool: &Arc<Pool>) -> Self {
        let mut heads =
            Heads { hint: Arc::new(Notify::new()), subscribed: Arc::new(AtomicUsize::new(0)), tasks: Vec::new() };
        for endpoint in &pool.endpoints {
            if !matches!(endpoint.connection, BuiltInConnectionString::Http(_)) {
                let (hint, subscribed) = (Arc::clone(&heads.hint), Arc::clone(&heads.subscribed));
                let (connection, url) = (endpoint.connection.clone(), endpoint.url.clone());
                heads.tasks.push(tokio::spawn(async move { follow(&connection, &url, &hint, &subscribed).await }));
            }
        }
        heads
    }
}

/// Follows one endpoint's blocks until the task is aborted, on a connection of its own.
async fn follow(connection: &BuiltInConnectionString, url: &ShownUrl, hint: &Notify, subscribed: &AtomicUsize) {
    let mut pause = RESUBSCRIBE_FIRST;
    loop {
        match subscribe(connection).await {
            Ok(mut blocks) => {
                tracing::info!(target: "guardrail::bridge", endpoint = %url, "blocks are announced");
                subscribed.fetch_add(1, Ordering::Relaxed);
                pause = RESUBSCRIBE_FIRST;
                while let Ok(_) | Err(RecvError::Lagged(_)) = blocks.recv().await {
                    hint.notify_one();
                }
                subscribed.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!(target: "guardrail::bridge", endpoint = %url, "the subscription ended; polling until it is back");
            }
            Err(error) => {
                tracing::debug!(target: "guardrail::bridge", endpoint = %url, %error, "no subscription yet; polling");
            }
        }
        hint.notify_one();
        tokio::time::sleep(pause.mul_f64(1.0 - random_share() / 2.0)).await;
        pause = (pause * 2).min(RESUBSCRIBE_MAX);
    }
}

async fn subscribe(
    connection: &BuiltInConnectionString,
) -> Result<alloy::pubsub::Subscription<alloy::rpc::types::Header>, TransportError> {
    let provider = RootProvider::<Ethereum>::new(client(connection.connect_boxed().await?));
    provider.subscribe_blocks().await
}

impl Endpoint {
    fn circuit(&self) -> std::sync::MutexGuard<'_, Circuit> {
        // A panic while it was held cannot have left it half changed: each change is one assignment.
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self, now: Instant) -> EndpointHealth {
        let circuit = self.circuit();
        EndpointHealth {
            url: self.url.clone(),
            state: circuit.state(now),
            failures: circuit.failures(),
            last_error: circuit.last_error().map(str::to_owned),
        }
    }

    async fn transport(&self) -> Result<BoxTransport, TransportError> {
        let mut transport = self.transport.lock().await;
        if let Some(transport) = transport.as_ref() {
            return Ok(transport.clone());
        }
        let connected = connect(&self.connection).await?;
        *transport = Some(connected.clone());
        Ok(connected)
    }

    /// Asks once, within the time a question may take, and counts how it went.
    async fn ask(&self, packet: RequestPacket, call_timeout: Duration) -> Result<ResponsePacket, TransportError> {
        let asked = tokio::time::timeout(call_timeout, async {
            let mut transport = self.transport().await?;
            transport.call(packet).await
        });
        let answer = asked.await.unwrap_or_else(|_| {
            Err(TransportErrorKind::custom_str(&format!("no answer within {} ms", call_timeout.as_millis())))
        });
        let now = Instant::now();
        match &answer {
            Ok(_) | Err(RpcError::ErrorResp(_)) => self.circuit().succeeded(),
            Err(error) => match rate_limit(error) {
                Some(pause) => self.circuit().rest(now, pause, without_key(&error.to_string(), &self.address)),
                None => {
                    let what = without_key(&error.to_string(), &self.address);
                    let opened = {
                        let mut circuit = self.circuit();
                        let before = circuit.state(now);
                        circuit.failed(now, what.clone(), random_share());
                        before == CircuitState::Closed && circuit.state(now) == CircuitState::Open
                    };
                    if opened {
                        tracing::warn!(target: "guardrail::bridge", endpoint = %self.url, error = what, "the endpoint is left alone for a while");
                    }
                    if matches!(error, RpcError::Transport(TransportErrorKind::BackendGone)) {
                        *self.transport.lock().await = None;
                    }
                }
            },
        }
        answer
    }
}

/// Connects to an endpoint. Over HTTP a question goes to the endpoint that was named and nowhere
/// else, and whether it is asked again is decided here alone.
async fn connect(connection: &BuiltInConnectionString) -> Result<BoxTransport, TransportError> {
    match connection {
        BuiltInConnectionString::Http(url) => {
            let client = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .build()
                .map_err(TransportErrorKind::custom)?;
            Ok(BoxTransport::new(Http::with_client(client, url.clone())))
        }
        other => other.connect_boxed().await,
    }
}

/// How long an endpoint asks to be left alone, if that is what its error says.
fn rate_limit(error: &TransportError) -> Option<Duration> {
    let RpcError::Transport(kind) = error else { return None };
    match kind {
        TransportErrorKind::HttpErrorWithRetryAfter { retry_after, .. } => Some(*retry_after),
        TransportErrorKind::HttpError(HttpError { status: 429, .. }) => Some(RATE_LIMIT_PAUSE),
        _ => None,
    }
}

impl Pool {
    /// The endpoints in the order in which they are asked: the current one first while it works,
    /// then what works, what may work again, and at last what is left alone. Never none.
    fn order(&self, now: Instant) -> Vec<usize> {
        let current = self.current.load(Ordering::Relaxed);
        let mut order: Vec<_> = (0..self.endpoints.len())
            .map(|index| {
                let circuit = self.endpoints[index].circuit();
                (circuit.state(now), index != current, circuit.retry_at(), index)
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., index)| index).collect()
    }

    /// A question: the first endpoint that answers decides.
    async fn read(&self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let mut last = None;
        for index in self.order(Instant::now()) {
            match self.endpoints[index].ask(packet.clone(), self.call_timeout).await {
                Ok(answer) => {
                    let before = self.current.swap(index, Ordering::Relaxed);
                    if before != index {
                        tracing::warn!(target: "guardrail::bridge", endpoint = %self.endpoints[index].url, "this endpoint decides now");
                    }
                    return Ok(answer);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(TransportErrorKind::backend_gone))
    }

    /// A transaction: to all endpoints at once. One that took it is enough; the others go on by
    /// themselves. Where none did, an answer that leaves it open outweighs one that rejects it.
    async fn broadcast(self: Arc<Self>, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let mut asked = JoinSet::new();
        for index in 0..self.endpoints.len() {
            let (pool, packet) = (Arc::clone(&self), packet.clone());
            asked.spawn(async move { pool.endpoints[index].ask(packet, pool.call_timeout).await });
        }
        let mut open = None;
        let mut rejected = None;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(answer)) => match answer.first_error_message().map(classify_text) {
                    None | Some(SendOutcome::Accepted) => {
                        asked.detach_all();
                        return Ok(answer);
                    }
                    Some(SendOutcome::CertainlyRejected(_)) => rejected = Some(Ok(answer)),
                    Some(SendOutcome::PossiblySent(_)) => open = Some(Ok(answer)),
                },
                Ok(Err(error)) => open = open.or(Some(Err(error))),
                Err(_) => open = open.or_else(|| Some(Err(TransportErrorKind::backend_gone()))),
            }
        }
        open.or(rejected).unwrap_or_else(|| Err(TransportErrorKind::backend_gone()))
    }
}

/// All endpoints, or one of them by itself.
#[derive(Clone)]
struct PoolTransport {
    pool: Arc<Pool>,
    only: Option<usize>,
}

impl Service<RequestPacket> for PoolTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let PoolTransport { pool, only } = self.clone();
        Box::pin(async move {
            match only {
                Some(index) => pool.endpoints[index].ask(packet, pool.call_timeout).await,
                None if pool.endpoints.len() > 1 && packet.method_names().any(|method| method == SEND_RAW) => {
                    pool.broadcast(packet).await
                }
                None => pool.read(packet).await,
            }
        })
    }
}
