//! secp256k1 keys: signing digests, recovering signers, keeping dev keys on the dev chain.

use std::fmt;

use alloy::primitives::{Address, B256, Bytes, Signature, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;

use crate::schema::anchors::DEV_CHAIN_ID;

/// Half the order of secp256k1; a signature's `s` above it has a twin below and is refused (EIP-2).
const HALF_ORDER: U256 = U256::from_be_slice(&[
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
]);

/// Why bytes are not a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("expected a signature of 65 bytes, found {0}")]
    Length(usize),
    #[error("expected v to be 27 or 28, found {0}")]
    V(u8),
    #[error("the signature's s is in the upper half of the order")]
    HighS,
    #[error("the signature recovers to no key")]
    NoKey,
}

/// Recovers the signer of a digest from 65 bytes `r ‖ s ‖ v`, `v` 27 or 28, low `s`.
///
/// # Errors
/// [`SignatureError`] with the first rule the bytes break.
pub fn recover(digest: B256, signature: &[u8]) -> Result<Address, SignatureError> {
    let bytes: &[u8; 65] = signature.try_into().map_err(|_| SignatureError::Length(signature.len()))?;
    let v = bytes[64];
    let odd = match v {
        27 => false,
        28 => true,
        other => return Err(SignatureError::V(other)),
    };
    let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]));
    if s > HALF_ORDER {
        return Err(SignatureError::HighS);
    }
    Signature::new(r, s, odd).recover_address_from_prehash(&digest).map_err(|_| SignatureError::NoKey)
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("expected a private key of 32 bytes in hex")]
    NotAKey,
    #[error(
        "{address} is one of Anvil's public dev keys: it works on chain id {DEV_CHAIN_ID} alone, this chain is {chain_id}"
    )]
    DevKey { address: Address, chain_id: u64 },
    #[error("there are dev accounts 0 to 9, {0} is none of them")]
    NoDevAccount(usize),
    #[error("cannot sign: {0}")]
    Signer(#[from] alloy::signers::Error),
}

/// A private key in memory. Its `Debug` shows the address alone.
#[derive(Clone)]
pub struct SigningKey(PrivateKeySigner);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.address())
    }
}

impl SigningKey {
    /// Parses 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`]; the text is never repeated in the message.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        text.trim().parse().map(SigningKey).map_err(|_| KeyError::NotAKey)
    }

    /// One of Anvil's ten public dev accounts.
    ///
    /// # Errors
    /// [`KeyError::NoDevAccount`] past the ninth.
    pub fn dev(index: usize) -> Result<Self, KeyError> {
        DEV_KEYS.get(index).ok_or(KeyError::NoDevAccount(index)).and_then(|text| SigningKey::parse(text))
    }

    pub fn from_signer(signer: PrivateKeySigner) -> Self {
        SigningKey(signer)
    }

    pub fn address(&self) -> Address {
        self.0.address()
    }

    pub fn signer(&self) -> &PrivateKeySigner {
        &self.0
    }

    /// Refuses a public dev key anywhere but on the dev chain.
    ///
    /// # Errors
    /// [`KeyError::DevKey`].
    pub fn for_chain(self, chain_id: u64) -> Result<Self, KeyError> {
        let address = self.address();
        if chain_id != DEV_CHAIN_ID && is_dev_address(address) {
            return Err(KeyError::DevKey { address, chain_id });
        }
        Ok(self)
    }

    /// Signs a digest: 65 bytes `r ‖ s ‖ v`, low `s`, `v` 27 or 28, deterministic (RFC 6979).
    ///
    /// # Errors
    /// The signer's own.
    pub fn sign(&self, digest: B256) -> Result<Bytes, KeyError> {
        let signature = self.0.sign_hash_sync(&digest)?;
        Ok(Bytes::copy_from_slice(&signature.as_bytes()))
    }
}

/// Whether an address belongs to one of Anvil's ten public dev keys.
pub fn is_dev_address(address: Address) -> bool {
    (0..DEV_KEYS.len()).any(|index| SigningKey::dev(index).is_ok_and(|key| key.address() == address))
}

/// The private keys of Anvil's default mnemonic, printed by `anvil` at every start.
const DEV_KEYS: [&str; 10] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{address, keccak256};

    #[test]
    fn dev_accounts_are_anvils_and_stay_on_its_chain() {
        assert_eq!(SigningKey::dev(0).unwrap().address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(SigningKey::dev(9).unwrap().address(), address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"));
        assert!(SigningKey::dev(10).is_err());
        assert!(SigningKey::dev(3).unwrap().for_chain(DEV_CHAIN_ID).is_ok());
        assert!(matches!(SigningKey::dev(3).unwrap().for_chain(1), Err(KeyError::DevKey { chain_id: 1, .. })));
    }

    #[test]
    fn a_signature_has_one_spelling() {
        let key = SigningKey::dev(1).unwrap();
        let digest = keccak256("anything");
        let good = key.sign(digest).unwrap();
        assert_eq!(recover(digest, &good), Ok(key.address()));

        let mut high = good.to_vec();
        let order: U256 = HALF_ORDER * U256::from(2) + U256::from(1);
        let twin: [u8; 32] = (order - U256::from_be_slice(&good[32..64])).to_be_bytes();
        high[32..64].copy_from_slice(&twin);
        high[64] = 55 - high[64];
        assert_eq!(recover(digest, &high), Err(SignatureError::HighS));

        let mut old_v = good.to_vec();
        old_v[64] -= 27;
        assert_eq!(recover(digest, &old_v), Err(SignatureError::V(old_v[64])));
        assert_eq!(recover(digest, &good[..64]), Err(SignatureError::Length(64)));
        assert_eq!(recover(digest, &[&[0u8; 64][..], &[27]].concat()), Err(SignatureError::NoKey));
    }
}
