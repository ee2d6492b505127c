//! Merkle-Patricia proofs over ordered lists, as Ethereum roots transactions and receipts:
//! the key of item `i` is RLP(i), the value its EIP-2718 encoding (Yellow Paper, section 4.3.2).

use alloy::primitives::{B256, Bytes, keccak256};
use alloy::rlp::{Decodable, EMPTY_STRING_CODE};
use alloy_trie::nodes::{RlpNode, TrieNode};
use alloy_trie::proof::{ProofNodes, ProofRetainer};
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
/// Every node must be used, from the root down; the value is what the last node, a leaf, holds. A node that is
/// embedded in its parent is refused: that is one shorter than a hash, and no transaction or receipt is.
///
/// Not `alloy_trie`'s `verify_proof`: that walks on where a path has left the key, and panics where the path grows
/// longer than any key.
///
/// # Errors
/// [`TrieError`] where the proof does not lead from `root` to a present value at `index`.
pub fn check(root: B256, index: u64, proof: &[Bytes]) -> Result<Vec<u8>, TrieError> {
    if proof.len() > PROOF_NODES_MAX {
        return Err(TrieError::TooLong(proof.len()));
    }
    let (last, path) = proof.split_last().ok_or(TrieError::Empty)?;
    let mut expected = root;
    let mut key = key_of(index);
    for (depth, node) in path.iter().enumerate() {
        (expected, key) = match decode(node, expected, depth)? {
            TrieNode::Branch(branch) => {
                let nibble = key.first().ok_or_else(|| mismatch(depth, "a branch past the key's end"))?;
                let branch = branch.as_ref();
                let child = branch.children().find(|(at, _)| *at == nibble).and_then(|(_, child)| child);
                (hash_in(child, depth)?, key.slice(1..))
            }
            TrieNode::Extension(extension) if key.starts_with(&extension.key) => {
                (hash_in(Some(&extension.child), depth)?, key.slice(extension.key.len()..))
            }
            TrieNode::Extension(_) => return Err(mismatch(depth, "an extension of another path")),
            TrieNode::Leaf(_) | TrieNode::EmptyRoot => return Err(mismatch(depth, "no node leads on from here")),
        };
    }
    match decode(last, expected, path.len())? {
        TrieNode::Leaf(leaf) if leaf.key == key && !leaf.value.is_empty() => Ok(leaf.value),
        TrieNode::Leaf(_) => Err(mismatch(path.len(), "a leaf of another path, or without a value")),
        TrieNode::Branch(_) | TrieNode::Extension(_) | TrieNode::EmptyRoot => Err(TrieError::NoLeaf),
    }
}

fn mismatch(depth: usize, why: &str) -> TrieError {
    TrieError::Mismatch(format!("node {depth}: {why}"))
}

fn decode(node: &[u8], expected: B256, depth: usize) -> Result<TrieNode, TrieError> {
    if node.len() < B256::len_bytes() {
        return Err(mismatch(depth, "it is shorter than a hash, so it stands inside its parent"));
    }
    if keccak256(node) != expected {
        return Err(mismatch(depth, "it does not hash to what names it"));
    }
    let mut rest = node;
    match TrieNode::decode(&mut rest) {
        Ok(decoded) if rest.is_empty() => Ok(decoded),
        Ok(_) => Err(mismatch(depth, "bytes after the node")),
        Err(error) => Err(mismatch(depth, &error.to_string())),
    }
}

/// The hash by which a node names the next. `RlpNode` takes 33 bytes of any kind for one: a list of 32 bytes is none.
fn hash_in(child: Option<&RlpNode>, depth: usize) -> Result<B256, TrieError> {
    let is_string = |child: &&RlpNode| child.first() == Some(&(EMPTY_STRING_CODE + 32));
    child
        .filter(is_string)
        .and_then(RlpNode::as_hash)
        .ok_or_else(|| mismatch(depth, "it names no node by its hash at the key"))
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

    /// A bridge can invent a header over nodes of its own, so that every hash fits.
    #[test]
    fn a_path_longer_than_any_key_is_refused() {
        let mut proof: Vec<Bytes> = Vec::new();
        let mut next = keccak256("leaf");
        for _ in 0..3 {
            let mut node = vec![0xf8, 67, 0xa1, 0x00];
            node.extend([0x77; 32]);
            node.push(0xa0);
            node.extend(next);
            node[1] = u8::try_from(node.len() - 2).unwrap();
            next = keccak256(&node);
            proof.insert(0, node.into());
        }
        assert!(matches!(check(next, 1, &proof), Err(TrieError::Mismatch(_))));
    }

    #[test]
    fn a_node_shorter_than_a_hash_has_none() {
        let leaf = Bytes::from_static(&[0xc4, 0x82, 0x20, 0x80, 0x26]);
        assert!(check(keccak256(&leaf), 0, &[leaf]).is_err());
    }

    #[test]
    fn a_hash_in_a_list_names_no_node() {
        let leaf: Bytes = [&[0xea, 0x30, 0xa8][..], &[1; 40]].concat().into();
        let branch = |header: u8| {
            let hash = keccak256(&leaf);
            let children = [&[0x80; 8][..], &[header], hash.as_slice(), &[0x80; 8]].concat();
            Bytes::from([&[0xc0 + u8::try_from(children.len()).unwrap()], &children[..]].concat())
        };
        for (header, proven) in [(0xa0, true), (0xe0, false)] {
            let branch = branch(header);
            assert_eq!(check(keccak256(&branch), 0, &[branch.clone(), leaf.clone()]).is_ok(), proven, "{header:#x}");
        }
    }

    #[test]
    fn a_node_inside_its_parent_and_a_value_in_a_branch_are_refused() {
        // A branch whose child at 8 is a leaf of four bytes, and one that holds a value itself: index 0 has key 80.
        let mut branch = vec![0];
        branch.extend([0x80; 8]);
        branch.extend([0xc2, 0x30, 0x05]);
        branch.extend([0x80; 7]);
        branch.push(0x80);
        branch[0] = 0xc0 + u8::try_from(branch.len() - 1).unwrap();
        let root = keccak256(&branch);
        let leaf = Bytes::from_static(&[0xc2, 0x30, 0x05]);
        assert!(check(root, 0, &[branch.clone().into()]).is_err());
        assert!(check(root, 0, &[branch.into(), leaf]).is_err());
    }
}
