//! A hostile JSON-RPC proxy in front of Anvil: it enforces geth's rules for transactions, which
//! Anvil does not, and loses, delays, doubles, reorders, garbles and lies by a seeded plan.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use serde_json::{Value, json};

use crate::fault_support::Dice;
use crate::jsonrpc::{Message, Rpc, quantity};
use crate::support::{Anvil, dev};

/// Gas of one transaction (EIP-7825).
const GAS_MAX: u64 = 16_777_216;
/// Executable transactions that geth promises an account (`--txpool.accountslots`).
const ACCOUNT_SLOTS: usize = 16;
/// How much more both fee caps of a replacement must pay (`--txpool.pricebump`), in percent.
const PRICE_BUMP: u128 = 10;
/// How long a request waits for another one to overtake it.
const OVERTAKE: Duration = Duration::from_millis(300);
const SEND_RAW: &str = "eth_sendRawTransaction";
const COUNT: &str = "eth_getTransactionCount";

/// What can go wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It never reaches the node.
    DropRequest,
    /// The node does what it says, and nobody hears of it.
    DropAnswer,
    /// It reaches the node late, perhaps after the client gave up.
    Delay(Duration),
    /// The node does what it says at once; its answer comes late.
    LateAnswer(Duration),
    /// It reaches the node twice.
    Duplicate,
    /// The next request overtakes it.
    Reorder,
    /// Its answer is no JSON.
    Garble,
    /// An HTTP status in place of an answer.
    Status(u16),
    /// `eth_getTransactionCount` says less.
    CountTooLow,
    /// `eth_getTransactionCount` says more.
    CountTooHigh,
}

impl Fault {
    /// Every fault, with the delay that fits the client's patience.
    pub fn all(delay: Duration) -> [Fault; 13] {
        [
            Fault::DropRequest,
            Fault::DropAnswer,
            Fault::Delay(delay),
            Fault::LateAnswer(delay),
            Fault::Duplicate,
            Fault::Reorder,
            Fault::Garble,
            Fault::Status(429),
            Fault::Status(500),
            Fault::Status(502),
            Fault::Status(503),
            Fault::CountTooLow,
            Fault::CountTooHigh,
        ]
    }

    /// Whether it is a well-formed answer that is not true.
    pub const fn is_lie(self) -> bool {
        match self {
            Fault::CountTooLow | Fault::CountTooHigh => true,
            Fault::DropRequest
            | Fault::DropAnswer
            | Fault::Delay(_)
            | Fault::LateAnswer(_)
            | Fault::Duplicate
            | Fault::Reorder
            | Fault::Garble
            | Fault::Status(_) => false,
        }
    }

    fn applies(self, method: &str) -> bool {
        !self.is_lie() || method == COUNT
    }
}

/// A transaction that came by, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub sender: Address,
    pub nonce: u64,
    pub hash: B256,
    pub max_fee_wei: u128,
    pub answer: Result<(), String>,
}

/// The proxy; it serves until the test's process ends.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Rpc,
    plan: Mutex<Plan>,
    pool: Mutex<Pool>,
    sent: Mutex<Vec<Sent>>,
    dead: AtomicBool,
    /// Whether it answers with block hashes of its own.
    forks: AtomicBool,
    /// How many requests reached the node.
    passed: Mutex<u64>,
    overtaken: Condvar,
}

/// Which faults happen how often.
struct Plan {
    dice: Dice,
    per_mille: u64,
    faults: Vec<Fault>,
    happened: BTreeMap<Fault, usize>,
}

impl Plan {
    fn draw(&mut self, method: &str) -> Option<Fault> {
        let fitting: Vec<Fault> = self.faults.iter().copied().filter(|fault| fault.applies(method)).collect();
        let happens = self.dice.below(1000) < self.per_mille;
        let choice = self.dice.below(fitting.len().max(1) as u64) as usize;
        let fault = fitting.get(choice).copied().filter(|_| happens)?;
        *self.happened.entry(fault).or_default() += 1;
        Some(fault)
    }
}

impl Proxy {
    pub fn start(upstream: &str, dice: Dice) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: Rpc::new(upstream),
            plan: Mutex::new(Plan { dice, per_mille: 0, faults: Vec::new(), happened: BTreeMap::new() }),
            pool: Mutex::default(),
            sent: Mutex::default(),
            dead: AtomicBool::new(false),
            forks: AtomicBool::new(false),
            passed: Mutex::new(0),
            overtaken: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                // A connection that breaks is one of the things that happen.
                std::thread::spawn(move || drop(shared.serve(connection)));
            }
        });
        Proxy { url, shared }
    }

    /// From now on one of these faults happens to so many of a thousand requests.
    pub fn misbehave(&self, per_mille: u64, faults: &[Fault]) {
        let mut plan = self.shared.plan.lock().unwrap();
        (plan.per_mille, plan.faults) = (per_mille, faults.to_vec());
    }

    pub fn behave(&self) {
        self.misbehave(0, &[]);
    }

    /// How often each fault has happened.
    pub fn happened(&self) -> BTreeMap<Fault, usize> {
        self.shared.plan.lock().unwrap().happened.clone()
    }

    /// Hangs up on everyone until it is revived.
    pub fn die(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
    }

    pub fn revive(&self) {
        self.shared.dead.store(false, Ordering::SeqCst);
    }

    /// Has other block hashes than the node, as on a fork; block 0 is what it was.
    pub fn fork(&self) {
        self.shared.forks.store(true, Ordering::SeqCst);
    }

    pub fn rejoin(&self) {
        self.shared.forks.store(false, Ordering::SeqCst);
    }

    /// The transactions of one sender that came by.
    pub fn sent_by(&self, sender: Address) -> Vec<Sent> {
        let sent = self.shared.sent.lock().unwrap();
        sent.iter().filter(|sent| sent.sender == sender).cloned().collect()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut answers = stream.try_clone()?;
        let mut requests = BufReader::new(stream);
        while let Some(request) = Message::read(&mut requests)? {
            if self.dead.load(Ordering::SeqCst) {
                return Ok(());
            }
            let asked: Value = serde_json::from_slice(&request.body)?;
            // A batch goes through as a whole; it is as one request to whatever happens to it.
            let method = asked["method"].as_str().unwrap_or("batch");
            let fault = self.plan.lock().unwrap().draw(method);
            match fault {
                None => self.reply(&mut answers, self.pass(&asked)?)?,
                Some(Fault::DropRequest) => return Ok(()),
                Some(Fault::DropAnswer) => {
                    self.pass(&asked)?;
                    return Ok(());
                }
                Some(Fault::Delay(delay)) => {
                    std::thread::sleep(delay);
                    self.reply(&mut answers, self.pass(&asked)?)?;
                }
                Some(Fault::LateAnswer(delay)) => {
                    let answer = self.pass(&asked)?;
                    std::thread::sleep(delay);
                    self.reply(&mut answers, answer)?;
                }
                Some(Fault::Duplicate) => {
                    let answer = self.pass(&asked)?;
                    self.pass(&asked)?;
                    self.reply(&mut answers, answer)?;
                }
                Some(Fault::Reorder) => {
                    self.wait_to_be_overtaken();
                    self.reply(&mut answers, self.pass(&asked)?)?;
                }
                Some(Fault::Garble) => {
                    let mut body = serde_json::to_vec(&self.pass(&asked)?)?;
                    let half = body.len() / 2;
                    body[half..].fill(b'}');
                    Message::write(&mut answers, "HTTP/1.1 200 OK", &body)?;
                }
                Some(Fault::Status(code)) => {
                    Message::write(&mut answers, &format!("HTTP/1.1 {code} No"), b"try again later")?;
                }
                Some(Fault::CountTooLow) => {
                    let answer = self.pass(&asked)?;
                    self.reply(&mut answers, other_count(answer, |count| count.saturating_sub(2)))?;
                }
                Some(Fault::CountTooHigh) => {
                    let answer = self.pass(&asked)?;
                    self.reply(&mut answers, other_count(answer, |count| count + 3))?;
                }
            }
        }
        Ok(())
    }

    fn reply(&self, stream: &mut TcpStream, answer: Value) -> io::Result<()> {
        Message::write(stream, "HTTP/1.1 200 OK", &serde_json::to_vec(&answer)?)
    }

    fn wait_to_be_overtaken(&self) {
        let passed = self.passed.lock().unwrap();
        let before = *passed;
        drop(self.overtaken.wait_timeout_while(passed, OVERTAKE, |passed| *passed == before).unwrap());
    }

    /// Passes a request on to the node, or refuses it as geth would.
    fn pass(&self, asked: &Value) -> io::Result<Value> {
        if let Some(batch) = asked.as_array() {
            return batch.iter().map(|one| self.pass(one)).collect::<io::Result<Vec<_>>>().map(Value::Array);
        }
        let mut answer = match asked["method"].as_str() {
            Some(SEND_RAW) => self.send(asked)?,
            // Most nodes do not have it; past this proxy's rules nothing gets to the node.
            Some("eth_sendRawTransactionSync") => json!({
                "jsonrpc": "2.0",
                "id": asked["id"],
                "error": {"code": -32601, "message": "the method eth_sendRawTransactionSync does not exist"},
            }),
            _ => self.upstream.pass(asked)?,
        };
        *self.passed.lock().unwrap() += 1;
        self.overtaken.notify_all();
        if self.forks.load(Ordering::SeqCst) && asked["method"] == "eth_getBlockByNumber" {
            let block = &mut answer["result"];
            let hash: Option<B256> = serde_json::from_value(block["hash"].clone()).ok();
            if let Some(hash) = hash.filter(|_| block["number"] != "0x0") {
                block["hash"] = json!(keccak256(hash));
            }
        }
        Ok(answer)
    }

    fn send(&self, asked: &Value) -> io::Result<Value> {
        let raw: Bytes = serde_json::from_value(asked["params"][0].clone())?;
        let transaction = TxEnvelope::decode_2718_exact(&raw).map_err(io::Error::other)?;
        let sender = transaction.recover_signer().map_err(io::Error::other)?;
        // One at a time, as the pool of a node would.
        let mut pool = self.pool.lock().unwrap();
        let answer = match pool.judge(&self.upstream, sender, &transaction)? {
            Ok(()) => {
                let answer = self.upstream.pass(asked)?;
                if answer["error"].is_null() {
                    pool.take(sender, &transaction);
                }
                answer
            }
            Err(refusal) => {
                json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32000, "message": refusal}})
            }
        };
        self.sent.lock().unwrap().push(Sent {
            sender,
            nonce: transaction.nonce(),
            hash: *transaction.tx_hash(),
            max_fee_wei: transaction.max_fee_per_gas(),
            answer: answer["error"]["message"].as_str().map_or(Ok(()), |message| Err(message.to_owned())),
        });
        Ok(answer)
    }
}

fn other_count(mut answer: Value, lie: impl FnOnce(u64) -> u64) -> Value {
    if let Some(count) = quantity(&answer["result"]) {
        answer["result"] = json!(format!("{:#x}", lie(count)));
    }
    answer
}

/// What geth's `legacypool` would hold, and why it would not take another transaction.
#[derive(Default)]
struct Pool {
    pooled: BTreeMap<(Address, u64), Pooled>,
}

#[derive(Clone, Copy)]
struct Pooled {
    hash: B256,
    max_fee_wei: u128,
    tip_wei: u128,
}

impl Pool {
    /// Whether geth would take a transaction, else why not, in its words.
    fn judge(&mut self, upstream: &Rpc, sender: Address, transaction: &TxEnvelope) -> io::Result<Result<(), String>> {
        let (nonce, hash) = (transaction.nonce(), *transaction.tx_hash());
        self.forget(upstream, sender)?;
        if self.pooled.values().any(|known| known.hash == hash) {
            return Ok(Err("already known".to_owned()));
        }
        let gas = transaction.gas_limit();
        if gas > GAS_MAX {
            return Ok(Err(format!("transaction gas limit too high (cap: {GAS_MAX}, tx: {gas})")));
        }
        let next = self.mined(upstream, sender)?;
        if nonce < next {
            return Ok(Err(format!("nonce too low: next nonce {next}, tx nonce {nonce}")));
        }
        match self.pooled.get(&(sender, nonce)) {
            Some(old) => {
                let enough = |old: u128, new: u128| new * 100 >= old * (100 + PRICE_BUMP);
                let tip = transaction.max_priority_fee_per_gas().unwrap_or_default();
                if !enough(old.max_fee_wei, transaction.max_fee_per_gas()) || !enough(old.tip_wei, tip) {
                    return Ok(Err("replacement transaction underpriced".to_owned()));
                }
            }
            None if self.pooled.range((sender, 0)..=(sender, u64::MAX)).count() >= ACCOUNT_SLOTS => {
                return Ok(Err("account limit exceeded".to_owned()));
            }
            None => {}
        }
        Ok(Ok(()))
    }

    fn take(&mut self, sender: Address, transaction: &TxEnvelope) {
        let pooled = Pooled {
            hash: *transaction.tx_hash(),
            max_fee_wei: transaction.max_fee_per_gas(),
            tip_wei: transaction.max_priority_fee_per_gas().unwrap_or_default(),
        };
        self.pooled.insert((sender, transaction.nonce()), pooled);
    }

    /// Forgets what was mined, and what the node itself no longer has.
    fn forget(&mut self, upstream: &Rpc, sender: Address) -> io::Result<()> {
        let next = self.mined(upstream, sender)?;
        self.pooled.retain(|(account, nonce), _| *account != sender || *nonce >= next);
        let mut gone = Vec::new();
        for (key, known) in &self.pooled {
            if ask(upstream, "eth_getTransactionByHash", json!([known.hash]))?.is_null() {
                gone.push(*key);
            }
        }
        self.pooled.retain(|key, _| !gone.contains(key));
        Ok(())
    }

    fn mined(&self, upstream: &Rpc, sender: Address) -> io::Result<u64> {
        let count = ask(upstream, COUNT, json!([sender, "latest"]))?;
        quantity(&count).ok_or_else(|| io::Error::other(format!("a count that is none: {count}")))
    }
}

fn ask(upstream: &Rpc, method: &str, params: Value) -> io::Result<Value> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    Ok(upstream.pass(&request)?["result"].take())
}

/// An empty transfer of dev account 0 to itself.
fn transfer(nonce: u64, gas_limit: u64, max_fee_wei: u128, tip_wei: u128) -> String {
    let key = dev(0);
    let mut transaction = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit,
        max_fee_per_gas: max_fee_wei,
        max_priority_fee_per_gas: tip_wei,
        to: TxKind::Call(key.address()),
        value: U256::ZERO,
        access_list: Default::default(),
        input: Bytes::new(),
    };
    let signature = key.signer().sign_transaction_sync(&mut transaction).unwrap();
    Bytes::from(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()).to_string()
}

#[test]
fn it_refuses_what_geth_refuses_in_geths_words() {
    const GWEI: u128 = 1_000_000_000;
    let anvil = Anvil::start();
    let proxy = Proxy::start(&anvil.url, Dice::roll_out("proxy"));
    let (node, rpc) = (Rpc::new(&anvil.url), Rpc::new(&proxy.url));
    node.automine(false);
    let send = |raw: String| rpc.try_call(SEND_RAW, json!([raw])).map(|_| ());
    let refused = |text: &str| Err(text.to_owned());

    assert_eq!(send(transfer(0, 21_000, 10 * GWEI, GWEI)), Ok(()));
    assert_eq!(send(transfer(0, 21_000, 10 * GWEI, GWEI)), refused("already known"));
    let underpriced = refused("replacement transaction underpriced");
    assert_eq!(send(transfer(0, 21_000, 11 * GWEI - 1, 2 * GWEI)), underpriced, "the cap");
    assert_eq!(send(transfer(0, 21_000, 20 * GWEI, GWEI)), underpriced, "the tip");
    assert_eq!(send(transfer(0, 21_000, 11 * GWEI, 11 * GWEI / 10)), Ok(()));
    assert_eq!(
        send(transfer(1, GAS_MAX + 1, 10 * GWEI, GWEI)),
        refused("transaction gas limit too high (cap: 16777216, tx: 16777217)")
    );
    for nonce in 1..16 {
        assert_eq!(send(transfer(nonce, 21_000, 10 * GWEI, GWEI)), Ok(()));
    }
    assert_eq!(send(transfer(16, 21_000, 10 * GWEI, GWEI)), refused("account limit exceeded"));
    node.mine();
    assert_eq!(send(transfer(16, 21_000, 10 * GWEI, GWEI)), Ok(()));
    assert_eq!(send(transfer(0, 21_000, 30 * GWEI, 3 * GWEI)), refused("nonce too low: next nonce 16, tx nonce 0"));
    // A node that forgot a transaction takes it again.
    let last = transfer(16, 21_000, 10 * GWEI, GWEI);
    let hash = proxy.sent_by(dev(0).address()).iter().rfind(|sent| sent.nonce == 16).unwrap().hash;
    node.call("anvil_dropTransaction", json!([hash]));
    assert_eq!(send(last), Ok(()));
}

#[test]
fn it_loses_doubles_and_garbles_what_it_is_told_to() {
    let anvil = Anvil::start();
    let proxy = Proxy::start(&anvil.url, Dice::roll_out("proxy"));
    let rpc = Rpc::new(&proxy.url);
    let head = || json!({"jsonrpc": "2.0", "id": 7, "method": "eth_blockNumber", "params": []});
    let head = |fault| {
        proxy.misbehave(1000, &[fault]);
        rpc.pass(&head()).map(|answer| answer["result"].clone()).map_err(|error| error.kind())
    };
    assert_eq!(head(Fault::DropRequest), Err(io::ErrorKind::UnexpectedEof));
    assert_eq!(head(Fault::DropAnswer), Err(io::ErrorKind::UnexpectedEof));
    for fault in [
        Fault::Delay(Duration::from_millis(10)),
        Fault::LateAnswer(Duration::from_millis(10)),
        Fault::Duplicate,
        Fault::Reorder,
        Fault::CountTooLow,
    ] {
        assert_eq!(head(fault), Ok(json!("0x0")), "{fault:?}");
    }
    assert!(head(Fault::Garble).is_err());
    assert_eq!(head(Fault::Status(503)), Err(io::ErrorKind::InvalidData));
    proxy.misbehave(1000, &[Fault::CountTooHigh]);
    assert_eq!(rpc.number(COUNT, json!([dev(0).address(), "latest"])), 3);
    proxy.behave();
    proxy.fork();
    let hash = |rpc: &Rpc, number: &str| rpc.call("eth_getBlockByNumber", json!([number, false]))["hash"].clone();
    let node = Rpc::new(&anvil.url);
    node.mine();
    assert_eq!(hash(&rpc, "0x0"), hash(&node, "0x0"));
    assert_ne!(hash(&rpc, "latest"), hash(&node, "latest"));
    proxy.rejoin();
    assert_eq!(hash(&rpc, "latest"), hash(&node, "latest"));
    proxy.die();
    assert!(rpc.pass(&json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})).is_err());
    proxy.revive();
    assert_eq!(rpc.number("eth_chainId", json!([])), 31_337);
}
