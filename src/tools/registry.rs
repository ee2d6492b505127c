//! Which tools there are, what they may be called with, and the ways to run one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::ToolError;
use super::permit::Permit;
use super::settings::ToolSettings;
use super::spec::{self, Declaration, ToolSpec};
use super::workspace::Workspace;
use super::{
    delete_database, deploy_to_production, git_commit, read_file, run_unit_tests, search_codebase, write_file,
};
use crate::crypto::action_hash;
use crate::risk::base_range;
use crate::schema::{AuthRequest, RiskScore, Tier, Timestamp, ToolName};
use crate::suggest;

/// The key under which a tool writes what names stand for (PROTOCOL section 2).
const RESOLVED: &str = "$resolved";

/// What a tool works with.
pub(super) struct Context<'a> {
    pub workspace: &'a Workspace,
    pub settings: &'a Arc<ToolSettings>,
}

/// A tool that does its work itself.
#[async_trait]
pub(super) trait Tool: Send + Sync {
    fn declaration(&self) -> &'static Declaration;

    async fn run(&self, call: &ValidCall, context: &Context<'_>) -> Result<Value, ToolError>;

    /// What the parameters stand for at this moment, for a call that needs approval.
    async fn resolve(&self, _call: &ValidCall, _context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        Ok(Map::new())
    }
}

/// A tool that holds no logic of its own. Its only way to act takes a [`Permit`].
#[async_trait]
pub(super) trait CriticalTool: Send + Sync {
    fn declaration(&self) -> &'static Declaration;

    /// The answer without a permit.
    fn pending(&self) -> Value;

    async fn resolve(&self, call: &ValidCall, context: &Context<'_>) -> Result<Map<String, Value>, ToolError>;

    /// The answer with a permit, where no executor is bound: it says that it is simulated.
    fn simulate(&self, permit: &Permit) -> Value;
}

enum Body {
    Direct(Box<dyn Tool>),
    Critical(Box<dyn CriticalTool>),
}

impl Body {
    fn declaration(&self) -> &'static Declaration {
        match self {
            Body::Direct(tool) => tool.declaration(),
            Body::Critical(tool) => tool.declaration(),
        }
    }
}

struct Entry {
    spec: ToolSpec,
    body: Body,
}

/// The tools and their settings.
pub struct Registry {
    entries: BTreeMap<ToolName, Entry>,
    settings: Arc<ToolSettings>,
}

/// A call whose every parameter holds to its rule. Only [`Registry::validate`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCall {
    name: ToolName,
    tier: Tier,
    parameters: Map<String, Value>,
}

impl ValidCall {
    pub fn name(&self) -> &ToolName {
        &self.name
    }

    pub fn tier(&self) -> Tier {
        self.tier
    }

    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// The `reasoning` parameter; the empty string for a tool that takes none.
    pub fn reasoning(&self) -> &str {
        self.parameters.get("reasoning").and_then(Value::as_str).unwrap_or_default()
    }

    /// The parameters in the tool's own type.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        serde_json::from_value(Value::Object(self.parameters.clone())).map_err(|source| self.mistyped(source))
    }

    /// A tool's result as JSON.
    pub(super) fn output(&self, output: &impl Serialize) -> Result<Value, ToolError> {
        serde_json::to_value(output).map_err(|source| self.mistyped(source))
    }

    fn mistyped(&self, source: serde_json::Error) -> ToolError {
        ToolError::Result { tool: self.name.clone(), source }
    }
}

impl Registry {
    /// The built-in tools under the settings of `tool_config.yaml`.
    ///
    /// # Errors
    /// Settings that make a tool laxer than it is by itself.
    pub fn standard(settings: ToolSettings) -> Result<Registry, ToolError> {
        let bodies = [
            Body::Direct(Box::new(read_file::ReadFile)),
            Body::Direct(Box::new(search_codebase::SearchCodebase)),
            Body::Direct(Box::new(write_file::WriteFile)),
            Body::Direct(Box::new(git_commit::GitCommit)),
            Body::Direct(Box::new(run_unit_tests::RunUnitTests)),
            Body::Critical(Box::new(deploy_to_production::DeployToProduction)),
            Body::Critical(Box::new(delete_database::DeleteDatabase)),
        ];
        let mut entries = BTreeMap::new();
        for body in bodies {
            let spec = spec_of(body.declaration(), &settings)?;
            entries.insert(spec.name.clone(), Entry { spec, body });
        }
        Ok(Registry { entries, settings: Arc::new(settings) })
    }

    /// The tools, by name.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.entries.values().map(|entry| &entry.spec)
    }

    pub fn spec(&self, name: &ToolName) -> Option<&ToolSpec> {
        self.entries.get(name).map(|entry| &entry.spec)
    }

    /// Checks a call against the tool's table. Touches nothing.
    ///
    /// # Errors
    /// An unknown tool or parameter, a missing one, a wrong type, a value that breaks a rule.
    pub fn validate(&self, name: &ToolName, parameters: &Map<String, Value>) -> Result<ValidCall, ToolError> {
        let entry = self.entry(name)?;
        spec::check(name, entry.body.declaration().parameters, parameters, &self.settings)?;
        Ok(ValidCall { name: name.clone(), tier: entry.spec.tier, parameters: parameters.clone() })
    }

    /// Runs a tool. A critical one does nothing but answer `pending_authorization`.
    ///
    /// # Errors
    /// The tool's own; its time limit.
    pub async fn run(&self, call: &ValidCall, workspace: &Workspace) -> Result<Value, ToolError> {
        let entry = self.entry(&call.name)?;
        match (&entry.body, entry.spec.tier) {
            (Body::Critical(tool), _) => Ok(tool.pending()),
            (Body::Direct(_), Tier::Critical) => Ok(json!({"status": "pending_authorization"})),
            (Body::Direct(tool), Tier::Safe | Tier::Write) => {
                self.limited(call, tool.run(call, &self.context(workspace))).await
            }
        }
    }

    /// The parameters as they go into an `AuthRequest`: those of the call, and under
    /// `$resolved` what they stand for at this moment.
    ///
    /// # Errors
    /// A name that stands for nothing, such as a branch that does not exist.
    pub async fn resolve(&self, call: &ValidCall, workspace: &Workspace) -> Result<Map<String, Value>, ToolError> {
        let context = self.context(workspace);
        let resolving = async {
            match &self.entry(&call.name)?.body {
                Body::Direct(tool) => tool.resolve(call, &context).await,
                Body::Critical(tool) => tool.resolve(call, &context).await,
            }
        };
        let resolved = self.limited(call, resolving).await?;
        let mut parameters = call.parameters.clone();
        parameters.insert(RESOLVED.to_owned(), Value::Object(resolved));
        Ok(parameters)
    }

    /// Runs the action that a permit is for. The names are resolved again; nothing runs if
    /// they, the hash or the time are not those of the approval.
    ///
    /// # Errors
    /// Any difference, expiry, and the tool's own errors.
    pub async fn run_permitted(
        &self,
        permit: Permit,
        workspace: &Workspace,
        now: Timestamp,
    ) -> Result<Value, ToolError> {
        let started = Instant::now();
        let request = permit.request();
        let mut parameters = request.parameters.clone();
        parameters.remove(RESOLVED);
        let call = self.validate(&request.tool_name, &parameters)?;
        let entry = self.entry(&call.name)?;
        let resolved = self.resolve(&call, workspace).await?;
        // The later of two clocks: one may have been set back, the other stood still while the machine slept.
        let moment = later(now, started).max(Timestamp::now());
        last_check(request, &resolved, permit.expires_at(), moment)?;
        match &entry.body {
            Body::Direct(tool) => self.limited(&call, tool.run(&call, &self.context(workspace))).await,
            Body::Critical(tool) => Ok(tool.simulate(&permit)),
        }
    }

    fn context<'a>(&'a self, workspace: &'a Workspace) -> Context<'a> {
        Context { workspace, settings: &self.settings }
    }

    fn entry(&self, name: &ToolName) -> Result<&Entry, ToolError> {
        self.entries.get(name).ok_or_else(|| ToolError::UnknownTool {
            name: name.clone(),
            hint: suggest::did_you_mean(name.as_str(), self.entries.keys().map(ToolName::as_str)),
        })
    }

    async fn limited<T>(
        &self,
        call: &ValidCall,
        work: impl Future<Output = Result<T, ToolError>>,
    ) -> Result<T, ToolError> {
        let limit = self.settings.tool_execution_timeout;
        let late = |_| ToolError::TimedOut { tool: call.name.clone(), limit_s: limit.as_secs() };
        tokio::time::timeout(limit, work).await.map_err(late)?
    }
}

/// The moment that is as long after `now` as `started` is past.
fn later(now: Timestamp, started: Instant) -> Timestamp {
    let elapsed_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_add(elapsed_ms))
}

/// What must hold on the last line before an approved action runs.
fn last_check(
    request: &AuthRequest,
    resolved: &Map<String, Value>,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), ToolError> {
    if *resolved != request.parameters {
        return Err(difference(&request.parameters, resolved));
    }
    let salt = request.salt.as_deref().unwrap_or_default();
    let hash = action_hash(&request.request_id, request.timestamp, salt, &request.tool_name, resolved)
        .map_err(ToolError::Unhashable)?;
    if hash != request.action_hash {
        return Err(ToolError::ActionHash);
    }
    if now >= expires_at { Err(ToolError::Expired { expires_at, now }) } else { Ok(()) }
}

/// Names the first thing that stands for something else than it did.
fn difference(approved: &Map<String, Value>, now: &Map<String, Value>) -> ToolError {
    let names = |map: &Map<String, Value>| map.get(RESOLVED).and_then(Value::as_object).cloned().unwrap_or_default();
    let (approved, now) = (names(approved), names(now));
    let what = approved.keys().chain(now.keys()).find(|key| approved.get(*key) != now.get(*key));
    let what = what.map_or(RESOLVED, String::as_str);
    let shown = |map: &Map<String, Value>| map.get(what).map_or_else(|| "nothing".to_owned(), Value::to_string);
    ToolError::ResolvedChanged { what: what.to_owned(), approved: shown(&approved), now: shown(&now) }
}

fn spec_of(declaration: &Declaration, settings: &ToolSettings) -> Result<ToolSpec, ToolError> {
    let name: ToolName = declaration.name.parse().map_err(ToolError::Settings)?;
    let tier = settings.tiers.get(&name).copied().unwrap_or(Tier::Critical);
    if tier < declaration.tier {
        let own = declaration.tier;
        return Err(ToolError::Settings(format!(
            "tool_tiers: `{name}` is listed as {tier}; it is {own} and cannot be laxer"
        )));
    }
    let own_base = RiskScore::from_bps_capped(declaration.base_risk_bps);
    let base_risk = settings.base_risks.get(&name).copied().unwrap_or(own_base).max(base_range(tier).0);
    Ok(ToolSpec {
        tier,
        description: declaration.description.to_owned(),
        base_risk,
        requires_reasoning: declaration.requires_reasoning(),
        parameters: spec::schema(declaration.parameters, settings),
        name,
    })
}

/// Runs blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ToolError::Interrupted { what })?
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
