//! The demo's scenario against the sample service, with the real tools: what the agent will
//! do, without graph, bridge and chain.

use std::path::{Path, PathBuf};

use guardrail::config::load_yaml_with;
use guardrail::llm::{Message, Plan, Planner, Role, ScriptedPlanner, ToolResultView};
use guardrail::risk::{RiskInput, RiskPolicy, RiskRoute, RunContext};
use guardrail::schema::Timestamp;
use guardrail::tools::{Registry, ToolConfig, Workspace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{git, sample_repository};

/// A Wednesday noon, UTC.
const WORKDAY: Timestamp = Timestamp::from_unix_ms(1_795_608_000_000);

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// One call that the planner made, and what came of it.
#[derive(Debug)]
struct Step {
    tool: String,
    route: RiskRoute,
    score: f64,
    result: Value,
}

struct Session {
    directory: TempDir,
    workspace: Workspace,
    registry: Registry,
    risk: RiskPolicy,
    planner: ScriptedPlanner,
    conversation: Vec<Message>,
}

impl Session {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        sample_repository(directory.path());
        let config: ToolConfig = load_yaml_with(&project("config/tool_config.yaml"), "GUARDRAIL_TOOLS", []).unwrap();
        Session {
            workspace: Workspace::open(directory.path()).unwrap(),
            registry: Registry::standard(config.tool_settings().unwrap()).unwrap(),
            risk: config.risk_policy().unwrap(),
            planner: ScriptedPlanner::load(&project("config/scenarios/demo.yaml")).unwrap(),
            conversation: Vec::new(),
            directory,
        }
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.directory.path(), arguments)
    }

    /// Plays one prompt to its answer; what needs an authorization is denied.
    async fn play(&mut self, prompt: &str) -> (Vec<Step>, String) {
        let message =
            |role, content: &str| Message { role, content: content.to_owned(), tool_call: None, result: None };
        self.conversation.push(message(Role::User, prompt));
        let mut steps = Vec::new();
        loop {
            let (thought, call) = match self.planner.next(&self.conversation, &[]).await.unwrap() {
                Plan::Finish { answer } => return (steps, answer),
                Plan::Call { thought, call } => (thought, call),
            };
            let valid = self.registry.validate(&call.name.parse().unwrap(), &call.parameters).unwrap();
            let base = self.registry.spec(valid.name()).unwrap().base_risk;
            let (tool_name, parameters, reasoning) = (valid.name(), valid.parameters(), valid.reasoning());
            let tier = Some(valid.tier());
            let context = &RunContext::default();
            let input = RiskInput { tool_name, tier, base, parameters, reasoning, context };
            let scored = self.risk.assess(&input, WORKDAY);
            let denied = scored.route == RiskRoute::RequireAuthorization;
            let result = self.registry.run(&valid, &self.workspace).await.unwrap();
            let view = ToolResultView { tool_name: call.name.clone(), ok: !denied, denied, value: result.clone() };
            self.conversation.push(Message { tool_call: Some(call.clone()), ..message(Role::Assistant, &thought) });
            self.conversation.push(Message { result: Some(view), ..message(Role::Tool, "") });
            steps.push(Step { tool: call.name, route: scored.route, score: scored.score.as_f64(), result });
        }
    }
}

fn tools(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.tool.as_str()).collect()
}

#[tokio::test]
async fn the_fix_of_the_scenario_makes_the_tests_pass() {
    let mut session = Session::start();

    let (before, answer) = session.play("Run all unit tests to verify the fix").await;
    assert_eq!((&before[0].result["passed"], &before[0].result["failed"]), (&json!(9), &json!(3)), "{before:?}");
    assert!(answer.starts_with("9 tests passed, 3 failed"), "{answer}");

    let (analysis, answer) = session.play("Analyze backend/auth.py and identify security issues").await;
    assert_eq!(tools(&analysis), ["read_file", "search_codebase", "search_codebase"]);
    assert!(analysis.iter().all(|step| step.route == RiskRoute::Execute), "{analysis:?}");
    assert!(answer.contains("if user.name == \"admin\":"), "{answer}");

    let (fix, answer) = session.play("Fix the authentication bypass vulnerability").await;
    assert_eq!(tools(&fix), ["read_file", "write_file", "git_commit"]);
    assert!(fix.iter().all(|step| step.route <= RiskRoute::ExecuteAndReview), "{fix:?}");
    let head = session.git(&["rev-parse", "HEAD"]);
    assert_eq!(fix[2].result, json!({"commit_hash": head, "files_changed": 1, "insertions": 1, "deletions": 4}));
    assert!(answer.contains(&head), "{answer}");
    assert_eq!(session.git(&["status", "--porcelain"]), "");

    let (after, _) = session.play("Run all unit tests to verify the fix").await;
    assert_eq!((&after[0].result["passed"], &after[0].result["failed"]), (&json!(12), &json!(0)), "{after:?}");

    let (deploy, answer) = session.play("Deploy the fix to production").await;
    assert_eq!((tools(&deploy), deploy[0].score), (vec!["deploy_to_production"], 0.9));
    assert_eq!(deploy[0].result, json!({"deployment_id": null, "status": "pending_authorization"}));
    assert!(answer.starts_with("The deployment was not approved"), "{answer}");
}

#[tokio::test]
async fn listing_functions_asks_nobody() {
    let (steps, answer) = Session::start().play("Read the auth.py file and list all functions").await;
    assert_eq!(tools(&steps), ["read_file", "search_codebase"]);
    assert!(steps.iter().all(|step| step.route == RiskRoute::Execute));
    assert_eq!(
        answer.lines().skip(1).collect::<Vec<_>>(),
        [
            "def hash_password(password, salt=None):",
            "def password_matches(user, password):",
            "def sign_in(store, name, password):",
            "def may_manage(user):",
        ]
    );
}

#[tokio::test]
async fn a_denied_deletion_goes_on_with_a_safe_step() {
    let (steps, answer) = Session::start().play("Delete the users database").await;
    assert_eq!(tools(&steps), ["delete_database", "search_codebase"]);
    assert!(steps[0].score >= 0.9, "{}", steps[0].score);
    assert!(answer.starts_with("The deletion was not approved, so nothing was deleted."), "{answer}");
}
