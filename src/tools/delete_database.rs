//! `delete_database`: critical, and without any logic of its own.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::error::ToolError;
use super::permit::Permit;
use super::registry::{Context, CriticalTool, ValidCall};
use super::spec::{Declaration, Kind, Parameter};
use crate::schema::Tier;

const DECLARATION: Declaration = Declaration {
    name: "delete_database",
    tier: Tier::Critical,
    base_risk_bps: 8000,
    description: "Deletes a database. Critical: it runs only after people approved this exact deletion.",
    parameters: &[
        Parameter { name: "db_name", kind: Kind::Database, required: true, description: "The database to delete." },
        Parameter {
            name: "reasoning",
            kind: Kind::Reasoning,
            required: true,
            description: "Why, how it was tested, and the rollback plan.",
        },
    ],
};

pub(super) struct DeleteDatabase;

#[async_trait]
impl CriticalTool for DeleteDatabase {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    fn pending(&self) -> Value {
        json!({"deleted": false, "status": "pending_authorization"})
    }

    async fn resolve(&self, _call: &ValidCall, _context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        Ok(Map::from_iter([("executor".to_owned(), json!("none"))]))
    }

    /// Nothing is deleted by a simulation, so `deleted` stays false.
    fn simulate(&self, _permit: &Permit) -> Value {
        json!({"deleted": false, "status": "simulated"})
    }
}
