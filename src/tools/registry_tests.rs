use super::*;
use crate::schema::Sha256Digest;
use crate::tools::fixture::{Fixture, object};
use crate::tools::settings::tests::shipped;

const WHY: &str = "All unit tests are tested and pass. Rollback plan: deploy the previous commit again.";

fn deploy(branch: &str) -> Value {
    json!({"branch": branch, "environment": "production", "reasoning": WHY})
}

#[test]
fn the_seven_tools_with_their_tiers() {
    let fixture = Fixture::new(&[]);
    let listed: Vec<_> = fixture
        .registry
        .specs()
        .map(|spec| (spec.name.as_str(), spec.tier, spec.base_risk.as_f64(), spec.requires_reasoning))
        .collect();
    assert_eq!(
        listed,
        [
            ("delete_database", Tier::Critical, 0.8, true),
            ("deploy_to_production", Tier::Critical, 0.7, true),
            ("git_commit", Tier::Write, 0.35, false),
            ("read_file", Tier::Safe, 0.1, false),
            ("run_unit_tests", Tier::Write, 0.3, false),
            ("search_codebase", Tier::Safe, 0.1, false),
            ("write_file", Tier::Write, 0.4, true),
        ]
    );
}

#[test]
fn parameters_come_with_a_schema() {
    let fixture = Fixture::new(&[]);
    let spec = fixture.registry.spec(&"deploy_to_production".parse().unwrap()).unwrap();
    assert_eq!(
        spec.parameters,
        json!({
            "type": "object",
            "properties": {
                "branch": {"type": "string", "minLength": 1, "description": "The branch to deploy."},
                "environment": {"type": "string", "enum": ["production", "staging", "development"], "description": "Where to."},
                "reasoning": {"type": "string", "maxLength": 8192, "description": "Why, how it was tested, and the rollback plan."},
            },
            "required": ["branch", "environment", "reasoning"],
            "additionalProperties": false,
        })
    );
}

#[tokio::test]
async fn a_call_that_is_not_in_the_table_is_refused_with_its_rule() {
    let fixture = Fixture::new(&[]);
    let refused = async |tool, parameters| fixture.refused(tool, parameters).await;
    assert_eq!(refused("read_fil", json!({})).await, "there is no tool `read_fil` (did you mean `read_file`?)");
    assert_eq!(refused("read_file", json!({})).await, "read_file needs the parameter `file_path`");
    assert_eq!(
        refused("read_file", json!({"file_pat": "a"})).await,
        "read_file has no parameter `file_pat` (did you mean `file_path`?)"
    );
    assert_eq!(
        refused("read_file", json!({"file_path": 3})).await,
        "read_file: `file_path` expects a text, found a number"
    );
    assert_eq!(
        refused("read_file", json!({"file_path": null})).await,
        "read_file: `file_path` expects a text, found null; leave the parameter out"
    );
    assert_eq!(
        refused("git_commit", json!({"message": "m", "files": ["a", 1]})).await,
        "git_commit: `files` expects a list of texts, found a list"
    );
    assert_eq!(
        refused("read_file", json!({"file_path": "a", "start_line": 0})).await,
        "read_file: `start_line`: it is 0, expected 1 to 1000000000"
    );
    assert_eq!(
        refused("deploy_to_production", deploy("main; rm -rf /")).await,
        "deploy_to_production: `branch`: `main; rm -rf /` is not a branch name: it holds a space or one of ~ ^ : ? * [ \\"
    );
    let mut typo = deploy("main");
    typo["environment"] = json!("prod");
    assert_eq!(
        refused("deploy_to_production", typo).await,
        "deploy_to_production: `environment`: `prod` is not an allowed environment (did you mean `production`?); allowed: production, staging, development"
    );
    let mut given = deploy("main");
    given["$resolved"] = json!({});
    assert_eq!(
        refused("deploy_to_production", given).await,
        "`$resolved` is written by the tool, never by the planner"
    );
    assert!(
        refused("delete_database", json!({"db_name": "users; drop", "reasoning": ""}))
            .await
            .contains("not a database name")
    );
    assert!(
        refused("write_file", json!({"file_path": "a", "content": "\0", "reasoning": ""})).await.contains("U+0000")
    );
}

#[tokio::test]
async fn a_critical_tool_without_a_permit_is_pending() {
    let fixture = Fixture::repository(&[]);
    assert_eq!(
        fixture.run("deploy_to_production", deploy("main")).await.unwrap(),
        json!({"deployment_id": null, "status": "pending_authorization"})
    );
    assert_eq!(
        fixture.run("delete_database", json!({"db_name": "users", "reasoning": WHY})).await.unwrap(),
        json!({"deleted": false, "status": "pending_authorization"})
    );
}

#[tokio::test]
async fn a_deployment_resolves_to_the_commit_behind_its_branch() {
    let fixture = Fixture::repository(&[]);
    let head = fixture.git(&["rev-parse", "HEAD"]);
    let call = fixture.call("deploy_to_production", deploy("main")).unwrap();
    assert_eq!((call.tier(), call.reasoning()), (Tier::Critical, WHY));
    let mut expected = object(deploy("main"));
    expected.insert("$resolved".to_owned(), json!({"commit": head, "executor": "none"}));
    assert_eq!(fixture.registry.resolve(&call, &fixture.workspace).await.unwrap(), expected);

    let absent = fixture.call("deploy_to_production", deploy("mian")).unwrap();
    assert_eq!(
        fixture.registry.resolve(&absent, &fixture.workspace).await.unwrap_err().to_string(),
        "the branch `mian` does not exist in the workspace's repository (did you mean `main`?)"
    );
    let database = fixture.call("delete_database", json!({"db_name": "users", "reasoning": WHY})).unwrap();
    let resolved = fixture.registry.resolve(&database, &fixture.workspace).await.unwrap();
    assert_eq!(resolved["$resolved"], json!({"executor": "none"}));
}

#[test]
fn a_list_makes_a_tool_stricter_never_laxer() {
    let name = |text: &str| -> ToolName { text.parse().unwrap() };
    let mut config = shipped();
    config.tool_tiers.tier3_critical.retain(|tool| tool.as_str() != "delete_database");
    config.base_risks.remove(&name("delete_database"));
    config.tool_tiers.tier2_write.push(name("delete_database"));
    let refused = Registry::standard(config.tool_settings().unwrap()).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "tool_config.yaml: tool_tiers: `delete_database` is listed as write; it is critical and cannot be laxer"
    );

    let mut config = shipped();
    config.tool_tiers.tier2_write.retain(|tool| tool.as_str() != "write_file");
    config.base_risks.remove(&name("write_file"));
    let registry = Registry::standard(config.tool_settings().unwrap()).unwrap();
    let spec = registry.spec(&name("write_file")).unwrap();
    assert_eq!((spec.tier, spec.base_risk.as_f64()), (Tier::Critical, 0.7), "a tool in no list is critical");
}

#[tokio::test]
async fn a_tool_that_was_made_critical_waits_for_a_permit() {
    let fixture = Fixture::with(&[], |config| {
        config.tool_tiers.tier2_write.retain(|tool| tool.as_str() != "write_file");
        config.base_risks.retain(|tool, _| tool.as_str() != "write_file");
    });
    let parameters = json!({"file_path": "a", "content": "x", "reasoning": WHY});
    assert_eq!(fixture.run("write_file", parameters).await.unwrap(), json!({"status": "pending_authorization"}));
    assert!(!fixture.path().join("a").exists());
}

/// A request as the agent would make it, its hash over the resolved parameters.
fn request(parameters: &Map<String, Value>) -> AuthRequest {
    let id = "0193a1b2-0000-7000-8000-000000000001".parse().unwrap();
    let timestamp = "2026-11-22T12:00:00.000Z".parse().unwrap();
    let tool_name: ToolName = "deploy_to_production".parse().unwrap();
    let action = action_hash(&id, timestamp, "", &tool_name, parameters).unwrap();
    with_hash(parameters, action)
}

fn with_hash(parameters: &Map<String, Value>, action: Sha256Digest) -> AuthRequest {
    AuthRequest::from_tree(json!({
        "request_id": "0193a1b2-0000-7000-8000-000000000001",
        "timestamp": "2026-11-22T12:00:00.000Z",
        "tool_name": "deploy_to_production",
        "parameters": parameters,
        "agent_state_checkpoint": "thread/1",
        "action_hash": action,
        "risk_score": 0.9,
        "estimated_impact": {"users_affected": "all", "downtime_risk": "medium", "data_risk": "low"},
        "reasoning": WHY,
    }))
    .unwrap()
}

#[test]
fn the_last_check_holds_only_for_what_was_approved_and_in_time() {
    let resolved = |commit: &str| {
        let mut parameters = object(deploy("main"));
        parameters.insert(RESOLVED.to_owned(), json!({"commit": commit, "executor": "none"}));
        parameters
    };
    let (expires_at, before) = (Timestamp::from_unix_ms(1000), Timestamp::from_unix_ms(999));
    let check = |request: &AuthRequest, commit: &str, now: Timestamp| {
        last_check(request, &resolved(commit), expires_at, now).map_err(|error| error.to_string())
    };
    let approved = request(&resolved("aa"));
    assert_eq!(check(&approved, "aa", before), Ok(()));
    assert_eq!(
        check(&approved, "bb", before),
        Err("`commit` is not what was approved: approved \"aa\", now \"bb\"; ask for a new authorization".to_owned())
    );
    assert!(check(&approved, "aa", expires_at).unwrap_err().starts_with("the authorization expired at"));
    let other = with_hash(&resolved("aa"), Sha256Digest::ZERO);
    assert!(check(&other, "aa", before).unwrap_err().starts_with("the action hash"));
}

#[tokio::test]
async fn a_tool_is_stopped_at_its_time_limit() {
    let test = "import time, unittest\nclass T(unittest.TestCase):\n    def test(self):\n        time.sleep(600)\n";
    let fixture = Fixture::with(&[("test_slow.py", test)], |config| config.timeouts.tool_execution_timeout = 1);
    assert_eq!(
        fixture.refused("run_unit_tests", json!({})).await,
        "run_unit_tests was stopped after 1 seconds (timeouts.tool_execution_timeout)"
    );
}

#[test]
fn a_workspace_is_a_directory_and_not_everything() {
    let refused = |path: &str| Workspace::open(std::path::Path::new(path)).unwrap_err().to_string();
    assert_eq!(refused("/"), "the workspace / is the root of the file system");
    assert_eq!(refused("/nonexistent"), "cannot open the workspace /nonexistent");
}
