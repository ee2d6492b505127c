//! Runs a ledger: its clock, its approvers, and JSON-RPC over HTTP on a loopback address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::U256;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::approvals::Approvers;
use super::chain::{Chain, ChainSettings, LedgerEvent};
use super::{MockError, eth, rpc};
use crate::contract::Setup;
use crate::crypto::SigningKey;
use crate::schema::Timestamp;
use crate::schema::anchors::DEV_CHAIN_ID;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long requests in hand may take when the ledger stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Coins of each dev account at the beginning, as Anvil gives them.
const BALANCE_ETHER: u64 = 10_000;
/// How many dev accounts there are.
const DEV_ACCOUNTS: usize = 10;

/// Who signs votes.
#[derive(Clone, Debug)]
pub enum Approvals {
    /// People do, with `guardrail approve` and `guardrail deny`.
    OnRequest,
    /// These approvers do, in this order and each time as few as are needed, some time after a request came.
    ByItself { after: Duration, keys: Vec<SigningKey> },
}

/// What a ledger is started with.
#[derive(Clone, Debug)]
pub struct MockConfig {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// From the first waiting transaction to the block that holds it.
    pub confirm_after: Duration,
    pub approvals: Approvals,
}

/// Told of every transaction, from whatever task it is.
pub type Observer = Arc<dyn Fn(&LedgerEvent) + Send + Sync>;

struct Shared {
    chain: Mutex<Chain>,
    /// Something came that may change when the next block is due.
    changed: Notify,
    observer: Observer,
}

impl Shared {
    /// The chain. A panic elsewhere leaves it whole: every change is made by one call.
    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, events: &[LedgerEvent]) {
        events.iter().for_each(|event| (self.observer)(event));
    }
}

/// A running ledger. Dropping it stops it at once; [`MockLedger::stop`] lets it finish what is in hand.
#[derive(Debug)]
pub struct MockLedger {
    address: SocketAddr,
    stop: CancellationToken,
    clock: JoinHandle<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl MockLedger {
    /// Starts a ledger with a fixed set-up; it is ready when this returns.
    ///
    /// # Errors
    /// [`MockError`].
    pub async fn start(config: MockConfig, setup: &Setup, observer: Observer) -> Result<Self, MockError> {
        if !config.listen.ip().is_loopback() {
            return Err(MockError::NotLoopback(config.listen));
        }
        let listening = |source| MockError::Listen { address: config.listen, source };
        let balance = U256::from(BALANCE_ETHER) * U256::from(10).pow(U256::from(18));
        let accounts = (0..DEV_ACCOUNTS).map(|index| SigningKey::dev(index).map(|key| (key.address(), balance)));
        let settings = ChainSettings {
            chain_id: DEV_CHAIN_ID,
            confirm_after: config.confirm_after,
            balances: accounts.collect::<Result<_, _>>()?,
        };
        let chain = Chain::new(settings, setup, now_ms())?;
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let shared = Arc::new(Shared { chain: Mutex::new(chain), changed: Notify::new(), observer });
        let stop = CancellationToken::new();
        let app = Router::new()
            .route("/", post(answer))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(shared.clone());
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stopped).await });
        let approvers = match config.approvals {
            Approvals::OnRequest => None,
            Approvals::ByItself { after, keys } => Some(Approvers::new(keys, after)),
        };
        let clock = tokio::spawn(tick(shared, approvers, stop.clone()));
        Ok(MockLedger { address, stop, clock, server })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops taking requests, answers those in hand, and forgets everything.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let both = async { tokio::join!(&mut self.clock, &mut self.server) };
        if tokio::time::timeout(STOP_TIMEOUT, both).await.is_err() {
            tracing::debug!(target: "guardrail::mock", "clients still held connections open");
        }
    }
}

impl Drop for MockLedger {
    fn drop(&mut self) {
        self.clock.abort();
        self.server.abort();
    }
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().unix_ms()).unwrap_or_default()
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    // A web page can send anything but this type to a loopback port without asking first.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json is expected").into_response();
    }
    let mut happened = Vec::new();
    let answered = {
        let mut chain = shared.chain();
        rpc::serve(&body, |method, params| eth::call(&mut chain, now_ms(), method, params, &mut happened))
    };
    shared.tell(&happened);
    if !happened.is_empty() {
        shared.changed.notify_one();
    }
    match answered {
        Some(answered) => axum::Json(answered).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Makes blocks and votes when they are due.
async fn tick(shared: Arc<Shared>, mut approvers: Option<Approvers>, stop: CancellationToken) {
    loop {
        let vote_at_ms = approvers.as_ref().and_then(Approvers::due_at_ms);
        let due_at_ms = [shared.chain().due_at_ms(), vote_at_ms].into_iter().flatten().min();
        let due = async {
            match due_at_ms {
                Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now_ms()))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.changed.notified() => {}
            () = due => {}
        }
        let happened = turn(&mut shared.chain(), approvers.as_mut(), now_ms());
        shared.tell(&happened);
    }
}

/// Does what is due at a moment.
fn turn(chain: &mut Chain, approvers: Option<&mut Approvers>, now_ms: u64) -> Vec<LedgerEvent> {
    let mut happened = Vec::new();
    if chain.due_at_ms().is_some_and(|at| at <= now_ms) {
        happened.extend(chain.mine(now_ms));
    }
    let Some(approvers) = approvers else { return happened };
    happened.extend(approvers.look(chain, now_ms));
    match approvers.due(chain, now_ms) {
        Ok(votes) => {
            for raw in votes {
                match chain.submit(&raw, now_ms) {
                    Ok(accepted) => happened.push(accepted),
                    Err(error) => tracing::error!(target: "guardrail::mock", %error, "an approver's vote is not taken"),
                }
            }
        }
        Err(error) => tracing::error!(target: "guardrail::mock", %error, "an approver cannot sign"),
    }
    happened
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::mock::fixture::{ask, dev, request, setup, to_contract};

    fn config(listen: &str) -> MockConfig {
        MockConfig {
            listen: listen.parse().unwrap(),
            confirm_after: Duration::from_millis(20),
            approvals: Approvals::OnRequest,
        }
    }

    /// Posts a body by hand; the status line's code and the answer's body.
    async fn post(ledger: &MockLedger, kind: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(ledger.address).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that has read enough may close before it took all.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn it_serves_json_of_a_sane_size_on_loopback() {
        let ledger = MockLedger::start(config("127.0.0.1:0"), &setup(), Arc::new(|_| {})).await.unwrap();
        let chain_id = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
        let (code, body) = post(&ledger, "application/json", chain_id).await;
        assert_eq!((code, body.as_str()), (200, r#"{"id":1,"jsonrpc":"2.0","result":"0x7a69"}"#));
        assert_eq!(post(&ledger, "text/plain", chain_id).await.0, 415);
        assert_eq!(post(&ledger, "application/json", &" ".repeat(BODY_BYTES_MAX + 1)).await.0, 413);
        let silent = chain_id.replace(r#""id":1,"#, "");
        assert_eq!(post(&ledger, "application/json", &silent).await, (204, String::new()));
        let taken = MockLedger::start(config(&ledger.address.to_string()), &setup(), Arc::new(|_| {})).await;
        assert!(matches!(taken, Err(MockError::Listen { .. })), "{taken:?}");
        let public = MockLedger::start(config("0.0.0.0:0"), &setup(), Arc::new(|_| {})).await;
        assert!(matches!(public, Err(MockError::NotLoopback(_))), "{public:?}");
    }

    #[tokio::test]
    async fn whoever_watches_is_told_of_every_transaction_twice() {
        let (told, events) = mpsc::channel();
        let told = Mutex::new(told);
        let observer: Observer = Arc::new(move |event| told.lock().unwrap().send(event.clone()).unwrap());
        let ledger = MockLedger::start(config("127.0.0.1:0"), &setup(), observer).await.unwrap();
        // Its expiry must be ahead of the real clock, which this ledger goes by.
        let mut r = request("r", 5_000);
        r.expiresAt = alloy::primitives::aliases::U40::from(now_ms() / 1000 + 300);
        let raw = alloy::hex::encode_prefixed(to_contract(0, ask("r", &r)).signed(&dev(0)));
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["{raw}"]}}"#);
        let (code, _) = post(&ledger, "application/json", &body).await;
        assert_eq!(code, 200);
        let next = tokio::task::spawn_blocking(move || {
            let wait = || events.recv_timeout(Duration::from_secs(10)).unwrap();
            [wait(), wait()]
        });
        let [accepted, confirmed] = next.await.unwrap();
        let LedgerEvent::Accepted { hash, nonce: 0, call: "requestAuthorization", .. } = accepted else {
            panic!("{accepted:?}")
        };
        let events = vec!["AuthorizationRequested"];
        assert_eq!(confirmed, LedgerEvent::Confirmed { hash, block: 2, events });
        let address = ledger.address;
        ledger.stop().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
