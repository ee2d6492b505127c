//! What a verifier asks an endpoint of its own: step 6 of PROTOCOL section 7, and contracts about their votes.

use super::endpoint::Endpoint;
use super::report::CHAIN_STEP;
use super::steps::Case;
use super::verdict::{ChainVerdict, VerifyFailure, fail};
use super::verify::Verifier;
use super::votes::WalletAnswers;
use crate::crypto::abi::ChainStatus;
use crate::schema::AuthResponse;
use crate::schema::anchors::ChainCheck;

impl Verifier {
    /// Step 6: the pinned chain, the pinned code, the block canonical at depth, the id in one of `states`.
    ///
    /// # Errors
    /// [`VerifyFailure`] at step 6. Without an endpoint it fails, unless the anchors switch it off.
    pub async fn check_chain(
        &self,
        response: &AuthResponse,
        states: &[ChainStatus],
    ) -> Result<ChainVerdict, VerifyFailure> {
        match self.anchors().chain_check {
            ChainCheck::Off => return Ok(ChainVerdict::NotChecked),
            ChainCheck::On => {}
        }
        let Some(endpoint) = self.endpoint() else {
            return fail(
                CHAIN_STEP,
                "there is no endpoint of the verifier's own to check the chain with; set an rpc_url",
            );
        };
        self.check_chain_at(endpoint, response, states).await.map(|_| ChainVerdict::Checked)
    }

    /// Step 6 at an endpoint, in words. A response without evidence names no block: chain, code and state are left.
    pub(super) async fn check_chain_at(
        &self,
        endpoint: &Endpoint,
        response: &AuthResponse,
        states: &[ChainStatus],
    ) -> Result<String, VerifyFailure> {
        let anchors = self.anchors();
        let view = endpoint
            .view(anchors, response.authorization_id, response.block_number)
            .await
            .map_err(|error| VerifyFailure::not_yet(CHAIN_STEP, error.to_string()))?;
        if view.chain_id != anchors.chain_id || view.genesis_hash != anchors.genesis_hash {
            return fail(
                CHAIN_STEP,
                format!("the endpoint serves another chain: id {}, genesis {}", view.chain_id, view.genesis_hash),
            );
        }
        if view.code_hash != anchors.code_hash {
            return fail(CHAIN_STEP, format!("the contract's code hash is {}, not the pinned one", view.code_hash));
        }
        let depth = (view.head + 1).saturating_sub(response.block_number);
        if response.evidence.is_some() {
            if view.block_hash != Some(response.block_hash) {
                return Err(VerifyFailure::not_yet(
                    CHAIN_STEP,
                    format!("block {} of the response is not in the endpoint's chain", response.block_number),
                ));
            }
            if depth < anchors.confirmations {
                return Err(VerifyFailure::not_yet(
                    CHAIN_STEP,
                    format!("block {} has depth {depth}, pinned are {}", response.block_number, anchors.confirmations),
                ));
            }
        }
        let status = view.status.as_str();
        if !states.contains(&view.status) {
            return Err(VerifyFailure::not_yet(
                CHAIN_STEP,
                format!("the contract says {status} of this authorization"),
            ));
        }
        Ok(match response.evidence {
            Some(_) => {
                format!("block {} is in the chain at depth {depth}; the contract says {status}", response.block_number)
            }
            None => format!("the contract says {status}"),
        })
    }

    /// Asks the contracts among the approvers about the votes that are no key's, in the state after the
    /// response's block.
    pub(super) async fn ask_wallets(
        &self,
        endpoint: &Endpoint,
        case: &Case<'_>,
    ) -> Result<WalletAnswers, VerifyFailure> {
        let mut answers = WalletAnswers::new();
        let Some(evidence) = &case.response.evidence else { return Ok(answers) };
        let facts = case.facts(evidence)?;
        for vote in case.vote_context(evidence, &facts).wallet_votes()? {
            let accepts = endpoint
                .wallet_accepts(
                    self.anchors().contract,
                    vote.wallet,
                    vote.digest,
                    &vote.signature,
                    case.response.block_hash,
                )
                .await
                .map_err(|error| {
                    VerifyFailure::not_yet(3, format!("the vote of {} cannot be checked now: {error}", vote.wallet))
                })?;
            answers.insert(vote, accepts);
        }
        Ok(answers)
    }
}
