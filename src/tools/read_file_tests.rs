use crate::tools::fixture::Fixture;
use serde_json::json;
use std::os::unix::fs::symlink;

#[tokio::test]
async fn returns_content_language_lines_and_size() {
    let fixture = Fixture::new(&[("backend/auth.py", "def f():\n    return 1\n")]);
    assert_eq!(
        fixture.run("read_file", json!({"file_path": "backend/auth.py"})).await.unwrap(),
        json!({"content": "def f():\n    return 1\n", "language": "python", "line_count": 2, "size": 22})
    );
}

#[tokio::test]
async fn reads_a_range_of_lines_and_says_what_is_missing() {
    let fixture = Fixture::with(&[("a.txt", "one\ntwo\nthree\nfour\n")], |config| config.limits.output_bytes_max = 8);
    let content = async |parameters| fixture.run("read_file", parameters).await.unwrap()["content"].clone();
    assert_eq!(content(json!({"file_path": "a.txt", "start_line": 2, "end_line": 2})).await, "two\n");
    assert_eq!(content(json!({"file_path": "a.txt", "start_line": 9})).await, "");
    assert_eq!(
        content(json!({"file_path": "a.txt"})).await,
        "one\ntwo\n\n[guardrail: 11 more bytes are not shown; go on with start_line 3]"
    );
}

#[tokio::test]
async fn names_binary_files_and_reads_other_encodings() {
    let fixture = Fixture::new(&[("x.bin", "a\0b")]);
    std::fs::write(fixture.path().join("wide.txt"), b"\xff\xfeh\0i\0").unwrap();
    std::fs::write(fixture.path().join("latin.txt"), b"caf\xe9").unwrap();
    let read = async |name| fixture.run("read_file", json!({"file_path": name})).await.unwrap();
    assert_eq!(
        read("x.bin").await,
        json!({"content": "[guardrail: a binary file of 3 bytes, not shown]", "language": "binary", "line_count": 0, "size": 3})
    );
    assert_eq!(read("wide.txt").await["content"], "hi");
    assert_eq!(
        read("latin.txt").await["content"],
        "caf\u{fffd}\n[guardrail: 1 places are not UTF-8 and show as U+FFFD]"
    );
}

#[tokio::test]
async fn nothing_outside_is_read() {
    let outside = Fixture::new(&[("password", "hidden")]);
    let fixture = Fixture::new(&[("in.txt", "inside"), (".git/config", "x"), (".env", "KEY=1"), ("d/x", "")]);
    symlink(outside.path(), fixture.path().join("out")).unwrap();
    symlink(outside.path().join("password"), fixture.path().join("file")).unwrap();
    symlink("/proc/self/environ", fixture.path().join("magic")).unwrap();
    symlink("in.txt", fixture.path().join("inner")).unwrap();
    symlink(".git/config", fixture.path().join("config")).unwrap();
    symlink(".env", fixture.path().join("settings")).unwrap();
    let refused = async |path| fixture.refused("read_file", json!({"file_path": path})).await;
    assert_eq!(
        refused("../../../../etc/passwd").await,
        "read_file: `file_path`: `../../../../etc/passwd` climbs out with `..`; a path stays inside the workspace"
    );
    assert_eq!(refused("out/password").await, "`out/password` leads out of the workspace");
    assert_eq!(refused("file").await, "`file` leads out of the workspace");
    assert_eq!(refused("magic").await, "`magic` leads out of the workspace");
    assert!(refused("config").await.contains("belongs to git or to the agent itself"));
    assert!(refused("settings").await.contains("holds credentials"));
    assert!(refused(".env").await.contains("holds credentials"));
    assert_eq!(refused("none").await, "`none` does not exist in the workspace");
    assert_eq!(refused("d").await, "`d` is a directory, not a file");
    assert_eq!(refused("in.txt/x").await, "`in.txt/x` goes through something that is not a directory");
    assert_eq!(fixture.run("read_file", json!({"file_path": "inner"})).await.unwrap()["content"], "inside");
}

#[tokio::test]
async fn a_pipe_does_not_hold_it_up_and_a_large_file_is_refused() {
    let fixture = Fixture::with(&[("big", "12345")], |config| config.limits.read_bytes_max = 4);
    std::process::Command::new("mkfifo").arg(fixture.path().join("pipe")).status().unwrap();
    assert_eq!(fixture.refused("read_file", json!({"file_path": "pipe"})).await, "`pipe` is not a regular file");
    assert_eq!(
        fixture.refused("read_file", json!({"file_path": "big"})).await,
        "`big` has 5 bytes, 4 is the limit; use search_codebase to find the part you need"
    );
}
