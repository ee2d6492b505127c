use super::*;
use serde_json::{Value, json};

const SCENARIO: &str = r#"
prompts:
  - prompt: Look around
    steps:
      - {id: look, thought: I look., tool: read_file, parameters: {file_path: a.txt}}
      - id: remove
        thought: "I saw {{look.content}}."
        tool: delete_database
        parameters: {db_name: "{{look.name}}", reasoning: "lines: {{look.line_count}}"}
        on_denied:
          steps:
            - {id: calm, thought: I read., tool: read_file, parameters: {file_path: b.txt}}
          answer: "denied: {{remove.reason}}; read {{calm.content}}"
    answer: done
  - prompt: Go on
    answer: "before: {{look.content}}"
"#;

fn load(text: &str) -> Result<ScriptedPlanner, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let name = file.path().display().to_string();
    ScriptedPlanner::load(file.path()).map_err(|error| error.to_string().replace(&name, "F"))
}

fn user(content: &str) -> Message {
    Message { role: Role::User, content: content.to_owned(), tool_call: None, result: None }
}

fn assistant() -> Message {
    Message { role: Role::Assistant, ..user("a thought") }
}

fn result(tool: &str, ok: bool, denied: bool, value: Value) -> Message {
    let result = ToolResultView { tool_name: tool.to_owned(), ok, denied, value };
    Message { role: Role::Tool, result: Some(result), ..user("") }
}

fn looked() -> Message {
    result("read_file", true, false, json!({"content": "x", "name": "users", "line_count": 2}))
}

fn calls(thought: &str, tool: &str, parameters: Value) -> Plan {
    let parameters = parameters.as_object().unwrap().clone();
    Plan::Call { thought: thought.to_owned(), call: ToolCall { name: tool.to_owned(), parameters } }
}

fn finish(answer: &str) -> Plan {
    Plan::Finish { answer: answer.to_owned() }
}

async fn next(conversation: &[Message]) -> Result<Plan, String> {
    load(SCENARIO).unwrap().next(conversation, &[]).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn goes_from_step_to_step_by_the_conversation_alone() {
    let mut conversation = vec![user("  look   AROUND. ")];
    let first = calls("I look.", "read_file", json!({"file_path": "a.txt"}));
    assert_eq!(next(&conversation).await, Ok(first.clone()));
    conversation.push(assistant());
    assert_eq!(next(&conversation).await, Ok(first), "a call without a result is asked for again");
    conversation.push(looked());
    let second = calls("I saw x.", "delete_database", json!({"db_name": "users", "reasoning": "lines: 2"}));
    assert_eq!(next(&conversation).await, Ok(second));
    conversation.push(result("delete_database", true, false, json!({"deleted": false, "status": "simulated"})));
    assert_eq!(next(&conversation).await, Ok(finish("done")));
    conversation.push(user("go on"));
    assert_eq!(next(&conversation).await, Ok(finish("before: x")), "results of earlier prompts stay known");
}

#[tokio::test]
async fn a_denial_goes_another_way_and_an_error_without_one_stops() {
    let mut conversation =
        vec![user("Look around"), looked(), result("delete_database", false, true, json!({"reason": "too risky"}))];
    assert_eq!(next(&conversation).await, Ok(calls("I read.", "read_file", json!({"file_path": "b.txt"}))));
    conversation.push(result("read_file", true, false, json!({"content": "y"})));
    assert_eq!(next(&conversation).await, Ok(finish("denied: too risky; read y")));

    let failed = [user("Look around"), result("read_file", false, false, json!("no such file"))];
    assert_eq!(next(&failed).await, Ok(finish("read_file failed: no such file. I stop here.")));
    let denied = [user("Look around"), result("read_file", false, true, json!(null))];
    assert_eq!(next(&denied).await, Ok(finish("read_file was not authorized, so it was not run. I stop here.")));
}

#[tokio::test]
async fn says_what_it_knows_and_that_it_is_a_script() {
    let answer = "I play a script and do not know \"Make coffee\". I know:\n- Look around\n- Go on";
    assert_eq!(next(&[user("Make coffee")]).await, Ok(finish(answer)));
    assert_eq!(next(&[]).await, Err("the conversation holds no prompt".to_owned()));
    let described = load(SCENARIO).unwrap().describe();
    assert!(described.starts_with("scripted planner (") && described.ends_with("): no model is asked"));
}

#[tokio::test]
async fn names_what_is_missing_and_what_does_not_follow() {
    assert_eq!(
        next(&[user("Go on")]).await,
        Err("step `answer` refers to `look.content`: step `look` has no result in this conversation".to_owned())
    );
    let without = [user("Look around"), result("read_file", true, false, json!({"content": "x"}))];
    assert_eq!(next(&without).await, Err("step `remove` refers to `look.name`: its result has no `name`".to_owned()));
    let other = [user("Look around"), result("git_commit", true, false, json!({}))];
    assert_eq!(
        next(&other).await,
        Err("the conversation does not follow the scenario: step `look` calls read_file, the result is of git_commit"
            .to_owned())
    );
}

#[test]
fn a_bad_file_is_refused_when_it_loads() {
    let refused = |from: &str, to: &str| load(&SCENARIO.replace(from, to)).unwrap_err();
    assert!(refused("thought: I look.", "thoughts: I look.").contains("unknown field `thoughts`"));
    assert!(refused("tool: delete_database", "tool: Delete Database").contains("expected a tool name"));
    assert!(refused("answer: done", "answer: done\n    extra: 1").contains("unknown field `extra`"));
    assert!(refused("answer: \"denied", "extra: 1\n          answer: \"denied").contains("unknown field `extra`"));
    assert_eq!(refused("prompt: Go on", "prompt: look around!"), "F: the prompt `look around!` is there twice");
    assert_eq!(refused("id: calm", "id: look"), "F: the step `look` is there twice");
    assert_eq!(
        refused("id: calm", "id: Calm-1"),
        "F: `Calm-1` is not a step's id: expected lower-case letters, digits and _"
    );
    assert_eq!(
        refused("before: {{look.content}}", "before: {{nobody.content}}"),
        "F: an answer refers to the step `nobody`, which the file does not hold"
    );
    assert!(
        refused("I saw {{look.content}}.", "I saw {{look")
            .starts_with("F: step `remove`: `look`: `{{` is never closed")
    );
}

#[test]
fn messages_and_plans_survive_a_checkpoint() {
    let conversation = [user("Look around"), assistant(), looked()];
    let text = serde_json::to_string(&conversation).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Message>>(&text).unwrap(), conversation);
}

#[test]
fn the_shipped_scenario_knows_the_prompts_of_the_demo() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios/demo.yaml");
    let planner = ScriptedPlanner::load(&path).unwrap();
    assert_eq!(
        planner.prompts().collect::<Vec<_>>(),
        [
            "Analyze backend/auth.py and identify security issues",
            "Fix the authentication bypass vulnerability",
            "Run all unit tests to verify the fix",
            "Deploy the fix to production",
            "Read the auth.py file and list all functions",
            "Delete the users database",
        ]
    );
}
