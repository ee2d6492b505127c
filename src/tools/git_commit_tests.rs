use super::*;
use crate::tools::fixture::Fixture;
use std::os::unix::fs::PermissionsExt;

fn commit_of(files: &[&str]) -> Value {
    json!({"message": "fix: close the hole\n\nDetails.", "files": files})
}

#[tokio::test]
async fn commits_the_named_files_and_nothing_else() {
    let fixture = Fixture::repository(&[("a.py", "1\n2\n"), ("b.py", "x\n"), ("gone.py", "g\n")]);
    std::fs::write(fixture.path().join("a.py"), "1\n3\n4\n").unwrap();
    std::fs::write(fixture.path().join("b.py"), "staged by someone\n").unwrap();
    std::fs::write(fixture.path().join("new.py"), "n\n").unwrap();
    std::fs::remove_file(fixture.path().join("gone.py")).unwrap();
    fixture.git(&["add", "b.py"]);
    let result = fixture.run("git_commit", commit_of(&["a.py", "new.py", "gone.py"])).await.unwrap();
    let head = fixture.git(&["rev-parse", "HEAD"]);
    assert_eq!(result, json!({"commit_hash": head, "files_changed": 3, "insertions": 3, "deletions": 2}));
    assert_eq!(
        fixture.git(&["log", "-1", "--format=%an|%ae|%cn|%B"]).trim(),
        "Guardrail Agent|agent@guardrail.invalid|Guardrail Agent|fix: close the hole\n\nDetails."
    );
    assert_eq!(fixture.git(&["status", "--porcelain"]), "M  b.py");
}

#[tokio::test]
async fn the_first_commit_of_a_repository_counts_too() {
    let fixture = Fixture::new(&[("a", "1\n")]);
    fixture.git(&["init", "--quiet"]);
    let result = fixture.run("git_commit", commit_of(&["a"])).await.unwrap();
    assert_eq!((&result["files_changed"], &result["insertions"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn hooks_signing_and_what_the_repository_configures_do_not_run() {
    let fixture = Fixture::repository(&[("a", "1\n")]);
    let hook = fixture.path().join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\ntouch hook-ran\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    fixture.git(&["config", "core.hooksPath", ".git/hooks"]);
    fixture.git(&["config", "commit.gpgSign", "true"]);
    fixture.git(&["config", "core.fsmonitor", "touch monitor-ran"]);
    fixture.git(&["config", "core.editor", "touch editor-ran"]);
    std::fs::write(fixture.path().join("a"), "2\n").unwrap();
    fixture.run("git_commit", commit_of(&["a"])).await.unwrap();
    for name in ["hook-ran", "monitor-ran", "editor-ran"] {
        assert!(!fixture.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn names_are_names_never_options_or_patterns() {
    let fixture = Fixture::repository(&[("a", "1\n"), ("--amend", "x\n"), ("*", "star\n")]);
    for name in ["a", "--amend", "*"] {
        std::fs::write(fixture.path().join(name), "changed\n").unwrap();
    }
    let result = fixture.run("git_commit", commit_of(&["--amend", "*"])).await.unwrap();
    assert_eq!(result["files_changed"], 2);
    assert_eq!(fixture.git(&["status", "--porcelain"]), "M a");
    assert_eq!(fixture.git(&["rev-list", "--count", "HEAD"]), "2");
}

#[tokio::test]
async fn says_why_it_does_not_commit() {
    let fixture = Fixture::repository(&[("a", "1\n"), (".env", "K=1\n")]);
    assert_eq!(
        fixture.refused("git_commit", commit_of(&["a"])).await,
        "there is nothing to commit: the named files are as they were"
    );
    let missing = fixture.refused("git_commit", commit_of(&["none"])).await;
    assert!(missing.starts_with("git add failed: fatal: pathspec 'none' did not match any files"), "{missing}");
    assert!(fixture.refused("git_commit", commit_of(&[".env"])).await.contains("holds credentials"));
    assert!(fixture.refused("git_commit", commit_of(&[])).await.contains("it is empty"));
    let bare = Fixture::new(&[("a", "1")]);
    assert!(bare.refused("git_commit", commit_of(&["a"])).await.contains("not a git repository"));
}

#[tokio::test]
async fn resolves_to_the_head_and_the_contents() {
    let fixture = Fixture::repository(&[("a", "1\n")]);
    let call = fixture.call("git_commit", commit_of(&["a", "gone"])).unwrap();
    let resolved = fixture.registry.resolve(&call, &fixture.workspace).await.unwrap();
    let expected =
        json!({"head": fixture.git(&["rev-parse", "HEAD"]), "files_sha256": {"a": sha256(b"1\n"), "gone": null}});
    assert_eq!(resolved["$resolved"], expected);
}

#[test]
fn binary_files_count_no_lines() {
    let output = count("c".to_owned(), "3\t1\ta.py\0-\t-\tx\tb.png\0");
    assert_eq!(output, Output { commit_hash: "c".to_owned(), files_changed: 2, insertions: 3, deletions: 1 });
}
