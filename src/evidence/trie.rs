//! Merkle-Patricia proofs over ordered lists, as Ethereum roots transactions and receipts:
//! the key of item `i` is RLP(i), the value its EIP-2718 encoding (Yellow Paper, section 4.3.2).

use alloy::primitives::{B256, Bytes};
use alloy::rlp::Decodable;
use alloy_trie::nodes::TrieNode;
use alloy_trie::proof::{ProofNodes, ProofRetainer, verify_proof};
use alloy_trie::{HashBuilder, Nibbles};

/// Longest proof: a list key has at most 18 nibbles, each of which can be one node.
pub const PROOF_NODES_MAX: usize = 24;

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    #[error("the proof has {0} nodes, at most {PROOF_NODES_MAX} are possible")]
    TooLong(usize),
    #[error("the proof is empty")]
    Empty,
    #[error("the proof's last node holds no value")]
    NoLeaf,
    #[error("the proof does not lead from the root to the value: {0}")]
    Mismatch(String),
    #[error("there is no item {index} among {count}")]
    NoItem { index: u64, count: usize },
}

fn key_of(index: u64) -> Nibbles {
    Nibbles::unpack(alloy::rlp::encode(index))
}

/// A list's trie, built once: its root, and the proof of every item.
#[derive(Clone, Debug)]
pub struct ListProofs {
    root: B256,
    nodes: ProofNodes,
    count: usize,
}

impl ListProofs {
    pub fn build(items: &[Vec<u8>]) -> Self {
        let mut leaves: Vec<(Nibbles, &[u8])> =
            items.iter().enumerate().map(|(index, item)| (key_of(index as u64), item.as_slice())).collect();
        leaves.sort_unstable_by_key(|(key, _)| *key);
        let targets = leaves.iter().map(|(key, _)| *key).collect();
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets));
        for (key, value) in leaves {
            builder.add_leaf(key, value);
        }
        let root = builder.root();
        ListProofs { root, nodes: builder.take_proof_nodes(), count: items.len() }
    }

    pub fn root(&self) -> B256 {
        self.root
    }

    /// The proof of an item, nodes from root to leaf.
    ///
    /// # Errors
    /// [`TrieError::NoItem`] for an index past the list.
    pub fn proof(&self, index: u64) -> Result<Vec<Bytes>, TrieError> {
        if index >= self.count as u64 {
            return Err(TrieError::NoItem { index, count: self.count });
        }
        Ok(self.nodes.matching_nodes_sorted(&key_of(index)).into_iter().map(|(_, node)| node).collect())
    }
}

/// Checks a proof of presence and returns the value it proves.
///
/// Every node must be used, from the root down; the value is what the last node holds.
///
/// # Errors
/// [`TrieError`] where the proof does not lead from `root` to a present value at `index`.
pub fn check(root: B256, index: u64, proof: &[Bytes]) -> Result<Vec<u8>, TrieError> {
    if proof.len() > PROOF_NODES_MAX {
        return Err(TrieError::TooLong(proof.len()));
    }
    let last = proof.last().ok_or(TrieError::Empty)?;
    let mut rest: &[u8] = last;
    let value = match TrieNode::decode(&mut rest) {
        Ok(TrieNode::Leaf(leaf)) if rest.is_empty() => leaf.value,
        Ok(TrieNode::Leaf(_) | TrieNode::Branch(_) | TrieNode::Extension(_) | TrieNode::EmptyRoot) => {
            return Err(TrieError::NoLeaf);
        }
        Err(error) => return Err(TrieError::Mismatch(error.to_string())),
    };
    verify_proof(root, key_of(index), Some(value.clone()), proof).map_err(|e| TrieError::Mismatch(e.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|i| vec![i as u8; 40 + i % 7]).collect()
    }

    #[test]
    fn every_item_of_every_size_proves_itself_and_nothing_else() {
        for count in [1, 2, 3, 16, 17, 127, 128, 129, 300] {
            let items = items(count);
            let list = ListProofs::build(&items);
            let root = list.root();
            assert_eq!(root, alloy_trie::root::ordered_trie_root_encoded(&items), "{count} items");
            for (index, item) in items.iter().enumerate() {
                let proof = &list.proof(index as u64).unwrap();
                assert_eq!(check(root, index as u64, proof).as_ref(), Ok(item), "item {index} of {count}");
                assert!(check(root, index as u64 + 1, proof).is_err(), "item {index} of {count} at the next index");
            }
        }
    }

    #[test]
    fn a_changed_shortened_or_padded_proof_fails() {
        let items = items(40);
        let list = ListProofs::build(&items);
        let (root, good) = (list.root(), &list.proof(17).unwrap());
        for node in 0..good.len() {
            for byte in 0..good[node].len() {
                let mut bad = good.clone();
                let mut bytes = bad[node].to_vec();
                bytes[byte] ^= 1;
                bad[node] = bytes.into();
                assert!(check(root, 17, &bad).is_err(), "node {node} byte {byte}");
            }
        }
        let mut padded = good.clone();
        padded.push(good[0].clone());
        assert!(check(root, 17, &padded).is_err());
        padded = good.clone();
        padded.insert(0, good[0].clone());
        assert!(check(root, 17, &padded).is_err());
        padded = good.clone();
        padded.push(good[good.len() - 1].clone());
        assert!(check(root, 17, &padded).is_err());
        assert!(check(root, 17, &good[1..]).is_err());
        assert!(check(root, 17, &good[..good.len() - 1]).is_err());
        let mut swapped = good.clone();
        swapped.reverse();
        assert!(check(root, 17, &swapped).is_err());
        assert_eq!(check(root, 17, &[]), Err(TrieError::Empty));
        assert_eq!(list.proof(40).unwrap_err(), TrieError::NoItem { index: 40, count: 40 });
    }
}
