//! `bridge_config.yaml`.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use crate::channel::Sharing;
use crate::schema::{RiskScore, ToolName, hex};

/// How the bridge behaves. Every limit has its unit in its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    pub chain: ChainConfig,
    pub channel: ChannelConfig,
    pub requests: RequestsConfig,
    pub fees: FeesConfig,
    pub shutdown: ShutdownConfig,
    pub web: WebConfig,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownConfig {
    /// How long a stop waits for what is on its way; the rest is in the journal.
    pub deadline_s: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// Where health and metrics are served; nowhere without it.
    #[serde(default)]
    pub listen: Option<std::net::SocketAddr>,
    /// Lets `listen` be an address that other hosts can reach. There is no login.
    #[serde(default)]
    pub allow_remote: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The contract; without it the one that this state directory deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<ConfiguredAddress>,
    /// Endpoints beside the one of `--rpc-url`: what is sent goes to all, what is read is decided from one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_rpc_urls: Vec<String>,
    /// How long one question to an endpoint may take.
    pub call_timeout_ms: u64,
    /// Blocks on top of an event, its own included, before it counts.
    pub confirmations: u64,
    /// How often an idle bridge looks at the chain.
    pub poll_interval_ms: u64,
    /// How long a sent transaction may stay unmined before its fee is raised.
    pub resubmit_interval_s: u64,
}

/// An address in its EIP-55 spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfiguredAddress(#[serde(with = "hex::address")] pub Address);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// Agent and bridge run as different users of one group.
    pub group: bool,
    /// Open requests and their files; past it new requests are refused.
    pub pending_max: u64,
    /// How long a single-slot client may hold the lock.
    pub lock_timeout_s: u64,
}

impl ChannelConfig {
    pub fn sharing(&self) -> Sharing {
        if self.group { Sharing::Group } else { Sharing::OwnerOnly }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestsConfig {
    /// How old a request may be, and how long it lives.
    pub authorization_timeout_s: u64,
    /// How far ahead of the bridge's clock a request may be.
    pub clock_skew_s: u64,
    /// The lowest risk score that a request for a tool may carry; a tool that is not named has floor 1.
    pub risk_floors: BTreeMap<ToolName, RiskScore>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeesConfig {
    /// The most that the bridge pays, in gwei per gas.
    pub max_fee_gwei: u64,
    /// The tip of a first attempt, in wei per gas.
    pub priority_fee_wei: u64,
    /// Below this balance, in gwei, the bridge raises an alarm.
    pub low_balance_gwei: u64,
}

impl FeesConfig {
    pub fn ceiling_wei(&self) -> u128 {
        u128::from(self.max_fee_gwei).saturating_mul(1_000_000_000)
    }
}

impl RequestsConfig {
    /// The risk floor of a tool.
    pub fn floor(&self, tool: &ToolName) -> RiskScore {
        self.risk_floors.get(tool).copied().unwrap_or(RiskScore::MAX)
    }
}
