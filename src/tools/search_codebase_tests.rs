use crate::tools::fixture::Fixture;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

const AUTH: &str = "import x\n\ndef login(a):\n    return a\n\n\ndef logout(a):\n    pass\n";

fn fixture() -> Fixture {
    Fixture::new(&[
        ("backend/auth.py", AUTH),
        ("backend/users.py", "def login_name():\n"),
        ("notes.md", "login( is described\n"),
        ("ignored/x.py", "def login(z):\n"),
        (".gitignore", "ignored/\n"),
        (".env", "login(secret\n"),
        ("server.key", "login(secret\n"),
        (".git/x", "login(\n"),
        ("binary", "login(\0"),
    ])
}

fn places(found: &Value) -> Vec<(String, u64)> {
    let place = |entry: &Value| (entry["file"].as_str().unwrap().to_owned(), entry["line_number"].as_u64().unwrap());
    found.as_array().unwrap().iter().map(place).collect()
}

#[tokio::test]
async fn finds_text_with_its_context_and_honours_ignore_files() {
    let found = fixture().run("search_codebase", json!({"query": "login("})).await.unwrap();
    assert_eq!(
        found,
        json!([
            {"file": "backend/auth.py", "line_number": 3, "match": "def login(a):", "context": "\ndef login(a):\n    return a"},
            {"file": "notes.md", "line_number": 1, "match": "login( is described", "context": "login( is described"},
        ])
    );
}

#[tokio::test]
async fn finds_expressions_in_the_files_asked_for() {
    let parameters = json!({"query": r"^\s*def \w+\(", "regex": true, "file_pattern": "*.py"});
    let found = fixture().run("search_codebase", parameters).await.unwrap();
    let expected = [("backend/auth.py", 3), ("backend/auth.py", 7), ("backend/users.py", 1)];
    assert_eq!(places(&found), expected.map(|(file, line)| (file.to_owned(), line)));
    let none = fixture().run("search_codebase", json!({"query": "login", "file_pattern": "*.rs"})).await.unwrap();
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn adjacent_matches_are_each_others_context() {
    let fixture = Fixture::new(&[("a", "x1\nx2\nend\n")]);
    let found = fixture.run("search_codebase", json!({"query": "x"})).await.unwrap();
    assert_eq!(found[0]["context"], "x1\nx2");
    assert_eq!(found[1]["context"], "x1\nx2\nend");
}

#[tokio::test]
async fn says_how_many_matches_are_missing() {
    let fixture =
        Fixture::with(&[("a", "x\n\n\nx\n\n\nx\n"), ("b", "x\n")], |config| config.limits.search_matches_max = 2);
    let found = fixture.run("search_codebase", json!({"query": "x"})).await.unwrap();
    assert_eq!(places(&found), [("a".to_owned(), 1), ("a".to_owned(), 4), (String::new(), 0)]);
    assert_eq!(found[2]["match"], "[guardrail: 2 more matches are not shown; narrow the query or the files]");
}

#[tokio::test]
async fn a_link_out_is_not_followed_and_a_bad_expression_is_named() {
    let outside = Fixture::new(&[("secret.txt", "needle\n")]);
    let fixture = Fixture::new(&[]);
    symlink(outside.path(), fixture.path().join("link")).unwrap();
    symlink(outside.path().join("secret.txt"), fixture.path().join("file")).unwrap();
    assert_eq!(fixture.run("search_codebase", json!({"query": "needle"})).await.unwrap(), json!([]));
    let refused = fixture.refused("search_codebase", json!({"query": "(", "regex": true})).await;
    assert!(refused.starts_with("`(` is not a regular expression"), "{refused}");
    assert!(fixture.run("search_codebase", json!({"query": "("})).await.is_ok());
}

#[tokio::test]
async fn a_file_that_cannot_be_searched_is_counted() {
    let long = "x".repeat(64 * 1024);
    let fixture = Fixture::with(&[("long", &long), ("short", "x\n")], |config| config.limits.read_bytes_max = 1024);
    let found = fixture.run("search_codebase", json!({"query": "x"})).await.unwrap();
    assert_eq!(places(&found), [("short".to_owned(), 1), (String::new(), 0)]);
    assert_eq!(found[1]["match"], "[guardrail: 1 files could not be searched]");
}
