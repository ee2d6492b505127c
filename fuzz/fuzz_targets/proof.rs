//! The proof checker, on tries that nobody built.
//!
//! An input is an index (four bytes, little endian) and nodes, each after its length (two bytes). No mutation finds a
//! hash, so a node names the next one by [`NEXT`], which becomes that node's hash here; the root is the first one's.

#![no_main]

use alloy::primitives::{B256, Bytes, keccak256};
use alloy_trie::Nibbles;
use alloy_trie::proof::verify_proof;
use guardrail::evidence::trie;
use libfuzzer_sys::fuzz_target;

const NEXT: [u8; 32] = [0xee; 32];
/// More than a proof may have, so that the limit is met too.
const NODES_MAX: usize = 32;

fuzz_target!(|data: &[u8]| {
    let Some((index, rest)) = data.split_first_chunk::<4>() else { return };
    let index = u64::from(u32::from_le_bytes(*index));
    let (root, proof) = linked(nodes(rest));
    hold_to_what_must_be(root, index, &proof);
    present_items_prove_themselves(index, &proof);
});

fn nodes(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>()
        && found.len() < NODES_MAX
    {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        found.push(after[..length].to_vec());
        rest = &after[length..];
    }
    found
}

/// Each node's [`NEXT`] replaced by the hash of the one after it; the root's hash.
fn linked(mut nodes: Vec<Vec<u8>>) -> (B256, Vec<Bytes>) {
    let mut next = B256::ZERO;
    for node in nodes.iter_mut().rev() {
        if let Some(at) = node.windows(NEXT.len()).position(|window| window == NEXT) {
            node[at..at + NEXT.len()].copy_from_slice(next.as_slice());
        }
        next = keccak256(&node);
    }
    (next, nodes.into_iter().map(Bytes::from).collect())
}

/// What is accepted, another implementation accepts; nothing less and nothing more proves it, and nothing else.
fn hold_to_what_must_be(root: B256, index: u64, proof: &[Bytes]) {
    let Ok(value) = trie::check(root, index, proof) else { return };
    assert!(!value.is_empty(), "an absent value is proven");
    let key = Nibbles::unpack(alloy::rlp::encode(index));
    assert!(verify_proof(root, key, Some(value), proof).is_ok(), "alloy-trie does not agree");
    assert!(trie::check(root, index, &proof[..proof.len() - 1]).is_err(), "a node is not needed");
    let last = proof[proof.len() - 1].clone();
    assert!(trie::check(root, index, &[proof, &[last]].concat()).is_err(), "a node is not used");
    assert!(trie::check(root, index ^ 1, proof).is_err(), "another index is proven too");
    assert!(trie::check(root, index, &[&proof[..1], proof].concat()).is_err(), "the root is used twice");
}

/// The same bytes as a block's items, where each is long enough to be one.
fn present_items_prove_themselves(index: u64, proof: &[Bytes]) {
    let items: Vec<Vec<u8>> = proof.iter().map(|node| [node.as_ref(), &[1; 32]].concat()).collect();
    if items.is_empty() {
        return;
    }
    let wanted = index % items.len() as u64;
    let list = trie::ListProofs::build(&items);
    let Ok(proof) = list.proof(wanted) else { panic!("a present item has no proof") };
    assert_eq!(trie::check(list.root(), wanted, &proof).as_ref(), Ok(&items[wanted as usize]));
}
