//! The floor under the metrics: the least a program must do to get a call on chain.
//!
//! JSON-RPC by hand over one keep-alive connection: no client library, no runtime, calldata
//! encoded beforehand, the answer searched rather than parsed. alloy's provider in its place was a tenth slower.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, TxKind, U64, U256};
use anyhow::{Context, Result, bail, ensure};
use guardrail::crypto::SigningKey;
use guardrail::schema::anchors::DEV_CHAIN_ID;
use serde::Deserialize;

/// Enough for any single call to the contract.
pub const CALL_GAS: u64 = 1_000_000;
/// Enough for a batch of 400 requests, which take 13.9 million; two of them fit into a block.
pub const BATCH_GAS: u64 = 14_500_000;
/// The most that one transaction may have (EIP-7825).
const GAS_MAX: u64 = 16_777_216;
/// Above what Anvil's base fee climbs to under full blocks.
const MAX_FEE_WEI: u128 = 500_000_000_000;
const TIP_WEI: u128 = 1_000_000_000;
/// Longer than any answer takes; one that does not come fails the run.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 * 1024;

/// An account that signs its own transactions, one nonce after another.
pub struct Account {
    key: SigningKey,
    nonce: u64,
}

impl Account {
    pub fn new(dev_account: usize) -> Result<Self> {
        Ok(Account { key: SigningKey::dev(dev_account)?, nonce: 0 })
    }

    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// A signed call under the next nonce, as raw bytes.
    pub fn call(&mut self, contract: Address, calldata: &[u8], gas: u64) -> Result<Vec<u8>> {
        self.sign(TxKind::Call(contract), calldata, gas)
    }

    /// A signed deployment under the next nonce, as raw bytes.
    pub fn create(&mut self, init_code: &[u8]) -> Result<Vec<u8>> {
        self.sign(TxKind::Create, init_code, GAS_MAX)
    }

    fn sign(&mut self, to: TxKind, data: &[u8], gas_limit: u64) -> Result<Vec<u8>> {
        let mut transaction = TxEip1559 {
            chain_id: DEV_CHAIN_ID,
            nonce: self.nonce,
            gas_limit,
            max_fee_per_gas: MAX_FEE_WEI,
            max_priority_fee_per_gas: TIP_WEI,
            to,
            value: U256::ZERO,
            access_list: Default::default(),
            input: data.to_vec().into(),
        };
        self.nonce += 1;
        let signature = self.key.signer().sign_transaction_sync(&mut transaction)?;
        Ok(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())
    }
}

/// JSON-RPC over one keep-alive connection.
pub struct Rpc {
    stream: TcpStream,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Rpc {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Rpc { stream, message: Vec::new(), answer: Vec::new() })
    }

    /// Sends a raw transaction; its receipt is in the answer, and says that it succeeded.
    pub fn send_sync(&mut self, raw: &[u8]) -> Result<()> {
        self.send_all_sync(&[raw])
    }

    /// Sends raw transactions in one JSON-RPC batch; all receipts are in the answer.
    pub fn send_all_sync<R: AsRef<[u8]>>(&mut self, raws: &[R]) -> Result<()> {
        let answer = self.call(&sync_body(raws))?;
        let succeeded = count(answer, br#""status":"0x1""#);
        ensure!(
            succeeded == raws.len(),
            "{succeeded} of {} succeeded: {}",
            raws.len(),
            String::from_utf8_lossy(answer)
        );
        Ok(())
    }

    /// Asks one question; the body of the answer.
    pub fn call(&mut self, body: &[u8]) -> Result<&[u8]> {
        self.message.clear();
        write!(
            self.message,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        self.message.extend_from_slice(body);
        self.stream.write_all(&self.message)?;
        self.receive()
    }

    /// The number of the latest block.
    pub fn block_number(&mut self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Answer {
            result: U64,
        }
        let answer = self.call(br#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#)?;
        Ok(serde_json::from_slice::<Answer>(answer)?.result.to())
    }

    fn receive(&mut self) -> Result<&[u8]> {
        self.answer.clear();
        let mut filled = 0;
        let mut head = None;
        loop {
            if head.is_none() {
                head = find(&self.answer[..filled], b"\r\n\r\n").map(|at| at + 4);
            }
            if let Some(body) = head {
                let length = content_length(&self.answer[..body])?;
                if filled >= body + length {
                    return Ok(&self.answer[body..body + length]);
                }
            }
            self.answer.resize(filled + READ_BYTES, 0);
            match self.stream.read(&mut self.answer[filled..])? {
                0 => bail!("the node hung up"),
                read => filled += read,
            }
        }
    }
}

/// The body that sends raw transactions and waits for their receipts: one call, or a batch.
fn sync_body<R: AsRef<[u8]>>(raws: &[R]) -> Vec<u8> {
    let calls: Vec<String> = raws
        .iter()
        .enumerate()
        .map(|(id, raw)| {
            let raw = alloy::hex::encode_prefixed(raw);
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransactionSync","params":["{raw}"]}}"#)
        })
        .collect();
    match calls.as_slice() {
        [call] => call.clone().into_bytes(),
        _ => format!("[{}]", calls.join(",")).into_bytes(),
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let line =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("an answer without a length")?;
    Ok(line.trim().parse()?)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// How often something stands in bytes.
pub fn count(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).filter(|window| *window == what).count()
}

/// A file that is appended to and synced, as the smallest journal is.
pub struct Log(File);

impl Log {
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Log(OpenOptions::new().append(true).create_new(true).open(path)?))
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)?;
        Ok(self.0.sync_all()?)
    }
}

/// Signs calls in advance, nonce after nonce.
pub fn presigned(
    account: &mut Account,
    contract: Address,
    calls: impl Iterator<Item = Vec<u8>>,
    gas: u64,
) -> Result<Vec<Vec<u8>>> {
    calls.map(|call| account.call(contract, &call, gas)).collect()
}
