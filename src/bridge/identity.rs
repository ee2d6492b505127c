//! The chain that a journal is about, and the lock on the account that sends to it.

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use fs2::FileExt;
use serde::{Deserialize, Serialize};

use super::{BridgeError, Journal};
use crate::schema::hex;
use crate::{atomic_file, contract};

/// What makes a chain the same chain. Any change stops the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainIdentity {
    pub chain_id: u64,
    #[serde(with = "hex::b256")]
    pub genesis_hash: B256,
    #[serde(with = "hex::address")]
    pub contract: Address,
    #[serde(with = "hex::b256")]
    pub code_hash: B256,
}

const META_KEY: &str = "identity";

impl ChainIdentity {
    /// Reads the identity from an endpoint.
    ///
    /// # Errors
    /// [`BridgeError`]; a contract of another version is refused.
    pub async fn read<P: Provider>(provider: &P, address: Address) -> Result<Self, BridgeError> {
        contract::check_code(provider, address).await?;
        let code_hash =
            contract::code_hash(provider, address).await?.ok_or(contract::ContractError::NoCode(address))?;
        Ok(ChainIdentity {
            chain_id: provider.get_chain_id().await?,
            genesis_hash: contract::genesis_hash(provider).await?,
            contract: address,
            code_hash,
        })
    }

    /// Compares with what an endpoint serves now.
    ///
    /// # Errors
    /// [`BridgeError::Identity`] with what changed.
    pub async fn check<P: Provider>(&self, provider: &P) -> Result<(), BridgeError> {
        let chain_id = provider.get_chain_id().await?;
        let genesis_hash = contract::genesis_hash(provider).await?;
        let code_hash = contract::code_hash(provider, self.contract).await?.unwrap_or_default();
        let now = ChainIdentity { chain_id, genesis_hash, contract: self.contract, code_hash };
        if now == *self { Ok(()) } else { Err(BridgeError::Identity(self.difference(&now))) }
    }

    /// Compares with what the journal was begun with; the first call writes it.
    ///
    /// # Errors
    /// [`BridgeError::Identity`] with what changed.
    pub fn pin(&self, journal: &mut Journal) -> Result<(), BridgeError> {
        let text = serde_json::to_string(self).map_err(|e| BridgeError::Corrupt(e.to_string()))?;
        match journal.read().meta(META_KEY)? {
            None => journal.atomically(|writes| writes.set_meta(META_KEY, &text)),
            Some(known) => {
                let known: ChainIdentity =
                    serde_json::from_str(&known).map_err(|e| BridgeError::Corrupt(format!("identity: {e}")))?;
                if known == *self { Ok(()) } else { Err(BridgeError::Identity(known.difference(self))) }
            }
        }
    }

    /// Compares an existing journal with the chain that an endpoint serves, its contract aside.
    ///
    /// # Errors
    /// [`BridgeError::Identity`] with what changed.
    pub async fn check_chain<P: Provider>(journal: &Path, provider: &P) -> Result<(), BridgeError> {
        if !journal.exists() {
            return Ok(());
        }
        let Some(known) = Self::pinned(&Journal::open(journal)?)? else { return Ok(()) };
        let now = ChainIdentity {
            chain_id: provider.get_chain_id().await?,
            genesis_hash: contract::genesis_hash(provider).await?,
            ..known.clone()
        };
        if known == now { Ok(()) } else { Err(BridgeError::Identity(known.difference(&now))) }
    }

    /// What the journal was begun with.
    ///
    /// # Errors
    /// [`BridgeError::Corrupt`].
    pub fn pinned(journal: &Journal) -> Result<Option<Self>, BridgeError> {
        let known = journal.read().meta(META_KEY)?;
        known
            .map(|text| serde_json::from_str(&text).map_err(|e| BridgeError::Corrupt(format!("identity: {e}"))))
            .transpose()
    }

    fn difference(&self, now: &ChainIdentity) -> String {
        let mut changes = Vec::new();
        if self.chain_id != now.chain_id {
            changes.push(format!("chain id was {}, is {}", self.chain_id, now.chain_id));
        }
        if self.genesis_hash != now.genesis_hash {
            changes.push(format!("genesis was {}, is {}", self.genesis_hash, now.genesis_hash));
        }
        if self.contract != now.contract {
            changes.push(format!("contract was {}, is {}", self.contract, now.contract));
        }
        if self.code_hash != now.code_hash {
            changes.push(format!("code hash was {}, is {}", self.code_hash, now.code_hash));
        }
        changes.join("; ")
    }
}

/// Held for the life of the process: one writer per account and chain on this host.
#[derive(Debug)]
pub struct AccountLock {
    _file: File,
}

impl AccountLock {
    /// Takes the lock in a host-wide directory, `$GUARDRAIL_LOCK_DIR` or `guardrail-locks` in the
    /// system's temporary directory.
    ///
    /// # Errors
    /// [`BridgeError::AccountBusy`] where another process sends for this account.
    pub fn take(genesis_hash: B256, account: Address) -> Result<Self, BridgeError> {
        let dir = std::env::var_os("GUARDRAIL_LOCK_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| std::env::temp_dir().join("guardrail-locks"));
        let failed = |what: &str, path: &Path| {
            let what = format!("cannot {what} {}", path.display());
            move |source| BridgeError::Io { what, source }
        };
        if !dir.is_dir() {
            // Every user of the host shares it; the sticky bit keeps them from each other's files.
            match DirBuilder::new().recursive(true).mode(0o1777).create(&dir) {
                Ok(()) => std::fs::set_permissions(&dir, Permissions::from_mode(0o1777))
                    .map_err(failed("set the mode of", &dir))?,
                Err(error) => return Err(failed("create", &dir)(error)),
            }
        }
        let path = dir.join(format!("{genesis_hash}-{account}.lock"));
        let file = atomic_file::open_lock(&path, 0o666).map_err(failed("open", &path))?;
        file.try_lock_exclusive().map_err(|error| {
            if error.kind() == fs2::lock_contended_error().kind() {
                BridgeError::AccountBusy { account, path: path.clone() }
            } else {
                failed("lock", &path)(error)
            }
        })?;
        Ok(AccountLock { _file: file })
    }
}
