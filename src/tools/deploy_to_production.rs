//! `deploy_to_production`: critical, and without any deployment logic.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::ToolError;
use super::git;
use super::permit::Permit;
use super::registry::{Context, CriticalTool, ValidCall};
use super::spec::{Declaration, Kind, Parameter};
use super::validators::BranchName;
use crate::schema::{Sha256Digest, Tier};

/// Hexadecimal digits of the action hash in the id of a simulated deployment.
const ID_DIGITS: usize = 12;

const DECLARATION: Declaration = Declaration {
    name: "deploy_to_production",
    tier: Tier::Critical,
    base_risk_bps: 7000,
    description: "Deploys a branch to an environment. Critical: it runs only after people approved this exact deployment.",
    parameters: &[
        Parameter { name: "branch", kind: Kind::Branch, required: true, description: "The branch to deploy." },
        Parameter { name: "environment", kind: Kind::Environment, required: true, description: "Where to." },
        Parameter {
            name: "reasoning",
            kind: Kind::Reasoning,
            required: true,
            description: "Why, how it was tested, and the rollback plan.",
        },
    ],
};

#[derive(Deserialize)]
struct Input {
    branch: BranchName,
}

pub(super) struct DeployToProduction;

#[async_trait]
impl CriticalTool for DeployToProduction {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    fn pending(&self) -> Value {
        json!({"deployment_id": null, "status": "pending_authorization"})
    }

    async fn resolve(&self, call: &ValidCall, context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        let input: Input = call.input()?;
        let commit = git::commit_of_branch(context.workspace, &context.settings.git, &input.branch).await?;
        Ok(Map::from_iter([("commit".to_owned(), json!(commit)), ("executor".to_owned(), json!("none"))]))
    }

    fn simulate(&self, permit: &Permit) -> Value {
        simulated(permit.request().action_hash)
    }
}

/// A deployment that did not happen, named after the action that was approved.
fn simulated(action: Sha256Digest) -> Value {
    let digits = action.to_string();
    json!({"deployment_id": format!("simulated-{}", &digits[..ID_DIGITS]), "status": "simulated"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_deployment_says_so() {
        assert_eq!(
            simulated(Sha256Digest::ZERO),
            json!({"deployment_id": "simulated-000000000000", "status": "simulated"})
        );
    }
}
