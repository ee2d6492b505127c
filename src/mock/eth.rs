//! The Ethereum methods that Guardrail, cast and wallets ask a node for.

use alloy::consensus::Transaction;
use alloy::consensus::transaction::Recovered;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy::rpc::types::{
    Block as RpcBlock, BlockTransactions, FeeHistory, Filter, FilterBlockOption, Header as RpcHeader, Log as RpcLog,
    Transaction as RpcTransaction, TransactionReceipt, TransactionRequest,
};
use serde_json::Value;

use super::CLIENT;
use super::authorization::Revert;
use super::chain::{Block, Chain, LedgerEvent, Message, Mined};
use super::rpc::{Params, RpcFailure, answer};

/// Logs in one answer.
const LOGS_MAX: usize = 10_000;
/// Blocks in one fee history.
const FEE_BLOCKS_MAX: u64 = 1_024;
/// The tip that is suggested, in wei per gas.
const TIP_WEI: u64 = 1_000_000_000;

/// Answers one method at a moment; what happened by it goes to `happened`.
///
/// # Errors
/// [`RpcFailure`].
pub fn call(
    chain: &mut Chain,
    now_ms: u64,
    method: &str,
    params: &Params,
    happened: &mut Vec<LedgerEvent>,
) -> Result<Value, RpcFailure> {
    match method {
        "web3_clientVersion" => answer(format!("{CLIENT}{}", env!("CARGO_PKG_VERSION"))),
        "net_version" => answer(chain.chain_id().to_string()),
        "eth_chainId" => answer(U64::from(chain.chain_id())),
        "eth_blockNumber" => answer(U64::from(chain.head())),
        "eth_gasPrice" => answer(U256::from(chain.next_base_fee()) + U256::from(TIP_WEI)),
        "eth_maxPriorityFeePerGas" => answer(U64::from(TIP_WEI)),
        "eth_feeHistory" => answer(fee_history(chain, params)?),
        "eth_getBlockByNumber" => {
            let number = BlockId::Number(params.get(0, "block")?);
            let full = params.optional(1, "full")?;
            answer(find(chain, number).map(|block| block_of(block, full)))
        }
        "eth_getBlockByHash" => {
            let hash: B256 = params.get(0, "hash")?;
            let full = params.optional(1, "full")?;
            answer(chain.block_by_hash(hash).map(|block| block_of(block, full)))
        }
        "eth_getBlockReceipts" => {
            let block = find(chain, params.get(0, "block")?);
            let receipts = |block: &Block| (0..block.transactions.len()).filter_map(|i| receipt_of(block, i)).collect();
            answer(block.map(receipts).map(|receipts: Vec<TransactionReceipt>| receipts))
        }
        "eth_getTransactionReceipt" => {
            let hash: B256 = params.get(0, "hash")?;
            answer(chain.mined(hash).and_then(|(block, index)| receipt_of(block, index)))
        }
        "eth_getTransactionByHash" => {
            let hash: B256 = params.get(0, "hash")?;
            let mined = chain.mined(hash).and_then(|(block, index)| transaction_of(block, index));
            answer(mined.or_else(|| chain.waiting(hash).cloned().map(waiting_transaction)))
        }
        "eth_getTransactionCount" => {
            let account: Address = params.get(0, "account")?;
            answer(U64::from(match newest(chain, params)? {
                Newest::Latest => chain.nonce(account),
                Newest::Pending => chain.pending_nonce(account),
            }))
        }
        "eth_getBalance" => {
            newest(chain, params)?;
            answer(chain.balance(params.get(0, "account")?))
        }
        // The code was there from the beginning and never changes.
        "eth_getCode" => answer(chain.code(params.get(0, "account")?)),
        "eth_call" => {
            let request: TransactionRequest = params.get(0, "call")?;
            let block = params.optional(1, "block")?.unwrap_or(BlockId::latest());
            let block = find(chain, block).ok_or_else(no_block)?;
            answer(chain.call(block, &message(&request)).map_err(reverted)?)
        }
        "eth_estimateGas" => {
            let request: TransactionRequest = params.get(0, "call")?;
            answer(U64::from(chain.estimate(&message(&request), now_ms).map_err(reverted)?))
        }
        "eth_getLogs" => answer(logs(chain, &params.get(0, "filter")?)?),
        "eth_sendRawTransaction" => {
            let raw: Bytes = params.get(0, "transaction")?;
            let accepted = chain.submit(&raw, now_ms);
            let accepted = accepted.map_err(|e| RpcFailure::new(RpcFailure::REJECTED, e.to_string()))?;
            happened.push(accepted);
            answer(alloy::primitives::keccak256(&raw))
        }
        _ => Err(RpcFailure::new(RpcFailure::NO_METHOD, format!("the mock ledger has no method {method}"))),
    }
}

fn no_block() -> RpcFailure {
    RpcFailure::new(RpcFailure::REJECTED, "header not found")
}

fn reverted(revert: Revert) -> RpcFailure {
    RpcFailure {
        code: RpcFailure::REVERTED,
        message: format!("execution reverted: {}", revert.reason()),
        data: Some(revert.0),
    }
}

/// A block by number, tag or hash. Nothing is made of what waits, so `pending` is the newest.
fn find(chain: &Chain, id: BlockId) -> Option<&Block> {
    match id {
        BlockId::Hash(hash) => chain.block_by_hash(hash.block_hash),
        BlockId::Number(BlockNumberOrTag::Number(number)) => chain.block(number),
        BlockId::Number(BlockNumberOrTag::Earliest) => chain.block(0),
        BlockId::Number(
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending | BlockNumberOrTag::Safe | BlockNumberOrTag::Finalized,
        ) => chain.block(chain.head()),
    }
}

/// At which end an account is looked at.
enum Newest {
    Latest,
    Pending,
}

/// Reads the block parameter of an account's method: balances and nonces are kept of the newest block alone.
fn newest(chain: &Chain, params: &Params) -> Result<Newest, RpcFailure> {
    let id = params.optional(1, "block")?.unwrap_or(BlockId::latest());
    if id == BlockId::pending() {
        return Ok(Newest::Pending);
    }
    let number = find(chain, id).ok_or_else(no_block)?.header.number;
    if number == chain.head() {
        return Ok(Newest::Latest);
    }
    Err(RpcFailure::params("the mock ledger keeps balances and nonces of its newest block alone"))
}

fn message(request: &TransactionRequest) -> Message<'_> {
    Message {
        from: request.from.unwrap_or_default(),
        to: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        input: request.input.input().map(|input| input.as_ref()).unwrap_or_default(),
    }
}

fn block_of(block: &Block, full: Option<bool>) -> RpcBlock {
    let transactions = if full.unwrap_or(false) {
        BlockTransactions::Full((0..block.transactions.len()).filter_map(|i| transaction_of(block, i)).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|mined| *mined.transaction.tx_hash()).collect())
    };
    let header = RpcHeader { hash: block.hash, inner: block.header.clone(), total_difficulty: None, size: None };
    RpcBlock { header, uncles: Vec::new(), transactions, withdrawals: None }
}

fn transaction_of(block: &Block, index: usize) -> Option<RpcTransaction> {
    let mined = block.transactions.get(index)?;
    Some(RpcTransaction {
        inner: mined.transaction.clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(mined.gas_price),
        block_timestamp: Some(block.header.timestamp),
    })
}

fn waiting_transaction(transaction: super::pool::Signed) -> RpcTransaction {
    let (envelope, signer) = transaction.into_parts();
    RpcTransaction {
        inner: Recovered::new_unchecked(envelope, signer),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: None,
        block_timestamp: None,
    }
}

fn receipt_of(block: &Block, index: usize) -> Option<TransactionReceipt> {
    let mined = block.transactions.get(index)?;
    let mut in_block = mined.logs_before;
    let inner = mined.receipt.clone().map_logs(|log| {
        let log = log_of(block, index, mined, log, in_block);
        in_block += 1;
        log
    });
    Some(TransactionReceipt {
        inner,
        transaction_hash: *mined.transaction.tx_hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: mined.gas_used,
        effective_gas_price: mined.gas_price,
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.transaction.signer(),
        to: mined.transaction.to(),
        contract_address: None,
    })
}

fn log_of(block: &Block, index: usize, mined: &Mined, log: alloy::primitives::Log, log_index: u64) -> RpcLog {
    RpcLog {
        inner: log,
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(*mined.transaction.tx_hash()),
        transaction_index: Some(index as u64),
        log_index: Some(log_index),
        removed: false,
    }
}

fn logs(chain: &Chain, filter: &Filter) -> Result<Vec<RpcLog>, RpcFailure> {
    let (from, to) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = chain.block_by_hash(hash).ok_or_else(no_block)?.header.number;
            (number, number)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let number = |tag: Option<BlockNumberOrTag>| match tag.unwrap_or_default() {
                BlockNumberOrTag::Number(number) => number,
                BlockNumberOrTag::Earliest => 0,
                BlockNumberOrTag::Latest
                | BlockNumberOrTag::Pending
                | BlockNumberOrTag::Safe
                | BlockNumberOrTag::Finalized => chain.head(),
            };
            (number(from_block), number(to_block).min(chain.head()))
        }
    };
    let mut found = Vec::new();
    for block in (from..=to).filter_map(|number| chain.block(number)) {
        if !filter.matches_bloom(block.header.logs_bloom) {
            continue;
        }
        for (index, mined) in block.transactions.iter().enumerate() {
            for (log_index, log) in (mined.logs_before..).zip(mined.receipt.logs()) {
                if !filter.matches(log) {
                    continue;
                }
                if found.len() >= LOGS_MAX {
                    let why = format!("more than {LOGS_MAX} logs; ask for fewer blocks");
                    return Err(RpcFailure::new(RpcFailure::LIMIT, why));
                }
                found.push(log_of(block, index, mined, log.clone(), log_index));
            }
        }
    }
    Ok(found)
}

/// Fees of the newest blocks, with the tips at the asked percentiles of each block's transactions.
fn fee_history(chain: &Chain, params: &Params) -> Result<FeeHistory, RpcFailure> {
    let count = params.get::<U64>(0, "blocks")?.to::<u64>().clamp(1, FEE_BLOCKS_MAX);
    let newest = find(chain, BlockId::Number(params.get(1, "newest block")?)).ok_or_else(no_block)?.header.number;
    let percentiles: Option<Vec<f64>> = params.optional(2, "percentiles")?;
    let oldest = (newest + 1).saturating_sub(count);
    let blocks: Vec<&Block> = (oldest..=newest).filter_map(|number| chain.block(number)).collect();
    let mut base_fees: Vec<u128> =
        blocks.iter().map(|block| block.header.base_fee_per_gas.unwrap_or_default().into()).collect();
    let following = chain.block(newest + 1).and_then(|block| block.header.base_fee_per_gas);
    base_fees.push(following.unwrap_or_else(|| chain.next_base_fee()).into());
    let ratio = |block: &&Block| block.header.gas_used as f64 / block.header.gas_limit as f64;
    Ok(FeeHistory {
        base_fee_per_gas: base_fees,
        gas_used_ratio: blocks.iter().map(ratio).collect(),
        base_fee_per_blob_gas: Vec::new(),
        blob_gas_used_ratio: Vec::new(),
        oldest_block: oldest,
        reward: percentiles.map(|percentiles| blocks.iter().map(|block| tips(block, &percentiles)).collect()),
    })
}

fn tips(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base = u128::from(block.header.base_fee_per_gas.unwrap_or_default());
    let mut tips: Vec<u128> = block.transactions.iter().map(|mined| mined.gas_price.saturating_sub(base)).collect();
    tips.sort_unstable();
    let at = |percentile: &f64| {
        let last = tips.len().saturating_sub(1);
        // Saturates at both ends, and NaN is 0.
        let index = (percentile / 100.0 * last as f64).round() as usize;
        tips.get(index.min(last)).copied().unwrap_or_default()
    };
    percentiles.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolCall;
    use serde_json::json;

    use super::*;
    use crate::contract::bindings::Authorization as binding;
    use crate::mock::fixture::{START_MS, act, ask, chain, dev, hash_of, request, to_contract, transfer};
    use crate::mock::{CONTRACT, rpc};

    /// Asks as a client would, by a body.
    fn ask_rpc(chain: &mut Chain, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut happened = Vec::new();
        rpc::serve(body.as_bytes(), |method, params| call(chain, START_MS, method, params, &mut happened)).unwrap()
    }

    fn result(chain: &mut Chain, method: &str, params: Value) -> Value {
        let answer = ask_rpc(chain, method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    #[test]
    fn it_says_what_it_is_and_what_it_has_not() {
        let mut chain = chain();
        assert_eq!(
            result(&mut chain, "web3_clientVersion", json!([])),
            format!("Guardrail Mock/{}", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(result(&mut chain, "eth_chainId", json!([])), "0x7a69");
        for method in ["eth_sendRawTransactionSync", "eth_getProof", "anvil_setBalance", "eth_accounts"] {
            assert_eq!(ask_rpc(&mut chain, method, json!([]))["error"]["code"], -32601, "{method}");
        }
    }

    #[test]
    fn a_transaction_is_found_before_and_after_its_block() {
        let mut chain = chain();
        let raw = to_contract(0, ask("r", &request("r", 5_000))).signed(&dev(0));
        let hash = json!(hash_of(&raw));
        let account = json!(dev(0).address());
        assert_eq!(result(&mut chain, "eth_sendRawTransaction", json!([Bytes::from(raw.clone())])), hash);
        let again = ask_rpc(&mut chain, "eth_sendRawTransaction", json!([Bytes::from(raw)]));
        assert_eq!((&again["error"]["code"], &again["error"]["message"]), (&json!(-32000), &json!("already known")));
        let waiting = result(&mut chain, "eth_getTransactionByHash", json!([hash]));
        assert_eq!((&waiting["hash"], &waiting["blockHash"]), (&hash, &Value::Null));
        assert_eq!(result(&mut chain, "eth_getTransactionReceipt", json!([hash])), Value::Null);
        assert_eq!(result(&mut chain, "eth_getTransactionCount", json!([account, "latest"])), "0x0");
        assert_eq!(result(&mut chain, "eth_getTransactionCount", json!([account, "pending"])), "0x1");
        chain.mine(START_MS);
        let mined = result(&mut chain, "eth_getTransactionByHash", json!([hash]));
        let receipt = result(&mut chain, "eth_getTransactionReceipt", json!([hash]));
        let block = result(&mut chain, "eth_getBlockByNumber", json!(["0x2", true]));
        assert_eq!((&mined["blockNumber"], &mined["blockHash"]), (&json!("0x2"), &block["hash"]));
        assert_eq!((&receipt["status"], &receipt["blockHash"]), (&json!("0x1"), &block["hash"]));
        assert_eq!(block["transactions"], json!([mined]));
        assert_eq!(result(&mut chain, "eth_getBlockReceipts", json!(["0x2"])), json!([receipt]));
        let by_hash = result(&mut chain, "eth_getBlockByHash", json!([block["hash"], false]));
        assert_eq!(by_hash["transactions"], json!([hash]));
        assert_eq!(result(&mut chain, "eth_getTransactionCount", json!([account])), "0x1");
        let old = ask_rpc(&mut chain, "eth_getTransactionCount", json!([account, "0x1"]));
        assert_eq!(old["error"]["code"], -32602);
        assert_eq!(result(&mut chain, "eth_getBlockByNumber", json!(["0x99", false])), Value::Null);
    }

    #[test]
    fn logs_are_found_by_block_address_and_topic() {
        let mut chain = chain();
        for name in ["a", "b"] {
            act(&mut chain, 0, ask(name, &request(name, 5_000)), START_MS);
        }
        chain.submit(&transfer(2, dev(5).address(), U256::ZERO).signed(&dev(0)), START_MS).unwrap();
        chain.mine(START_MS);
        let mut count = |filter: Value| result(&mut chain, "eth_getLogs", json!([filter])).as_array().unwrap().len();
        let whole = json!({"fromBlock": "0x0"});
        assert_eq!(count(whole.clone()), 2);
        assert_eq!(count(json!({"fromBlock": "0x2", "toBlock": "0x2", "address": CONTRACT})), 1);
        assert_eq!(count(json!({"fromBlock": "0x0", "address": dev(5).address()})), 0);
        assert_eq!(count(json!({"fromBlock": "0x0", "topics": [B256::repeat_byte(1)]})), 0);
        let log = result(&mut chain, "eth_getLogs", json!([whole]))[1].clone();
        let topics = json!([log["topics"][0], log["topics"][1]]);
        let mut found = |filter: Value| result(&mut chain, "eth_getLogs", json!([filter]));
        assert_eq!(found(json!({"fromBlock": "0x0", "topics": topics})), json!([log]));
        assert_eq!(found(json!({"blockHash": log["blockHash"]})), json!([log]));
        assert_eq!((&log["blockNumber"], &log["logIndex"]), (&json!("0x3"), &json!("0x0")));
    }

    #[test]
    fn a_revert_carries_the_contracts_own_error() {
        let mut chain = chain();
        let input = Bytes::from(binding::consumeCall { r: request("r", 0), claim: B256::ZERO }.abi_encode());
        for method in ["eth_call", "eth_estimateGas"] {
            let asked = json!([{"from": dev(0).address(), "to": CONTRACT, "input": input}]);
            let answer = ask_rpc(&mut chain, method, asked);
            assert_eq!(answer["error"]["code"], 3, "{answer}");
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("execution reverted: ") && message.contains("ZeroClaim"), "{message}");
            let data: Bytes = serde_json::from_value(answer["error"]["data"].clone()).unwrap();
            assert!(crate::contract::revert_reason(&data).unwrap().contains("ZeroClaim"));
        }
    }

    #[test]
    fn fees_have_a_history_with_one_more_base_fee_than_blocks() {
        let mut chain = chain();
        act(&mut chain, 0, ask("a", &request("a", 5_000)), START_MS);
        let history = result(&mut chain, "eth_feeHistory", json!(["0xa", "latest", [20.0, 100.0]]));
        assert_eq!(history["oldestBlock"], "0x0");
        assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 4);
        assert_eq!(history["reward"], json!([["0x0", "0x0"], ["0x0", "0x0"], ["0x3b9aca00", "0x3b9aca00"]]));
        let base = chain.block(2).unwrap().header.base_fee_per_gas.unwrap();
        assert_eq!(history["baseFeePerGas"][2], json!(U64::from(base)));
        assert_eq!(history["baseFeePerGas"][3], json!(U64::from(chain.next_base_fee())));
    }
}
