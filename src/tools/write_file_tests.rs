use crate::crypto::hash::sha256;
use crate::tools::fixture::Fixture;
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};

fn write(path: &str, content: &str) -> Value {
    json!({"file_path": path, "content": content, "reasoning": "tested; roll back with the backup"})
}

#[tokio::test]
async fn replaces_a_file_keeps_its_mode_and_what_was_there() {
    let fixture = Fixture::repository(&[("backend/run.sh", "old\n")]);
    let file = fixture.path().join("backend/run.sh");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o754)).unwrap();
    let backup = format!(".guardrail/backups/{}/backend/run.sh", &sha256(b"old\n").to_string()[..16]);
    assert_eq!(
        fixture.run("write_file", write("backend/run.sh", "new\n")).await.unwrap(),
        json!({"success": true, "checksum": sha256(b"new\n"), "backup_path": backup})
    );
    assert_eq!((fixture.read("backend/run.sh").as_str(), fixture.read(&backup).as_str()), ("new\n", "old\n"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o754);
    let names: Vec<_> = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["run.sh"], "no temporary file is left");
    assert_eq!(fixture.git(&["status", "--porcelain"]), "M backend/run.sh", "backups are out of git's sight");
}

#[tokio::test]
async fn makes_a_new_file_and_its_directories() {
    let fixture = Fixture::new(&[]);
    assert_eq!(
        fixture.run("write_file", write("a/b/c.txt", "x")).await.unwrap(),
        json!({"success": true, "checksum": sha256(b"x"), "backup_path": null})
    );
    assert_eq!(fixture.read("a/b/c.txt"), "x");
}

#[tokio::test]
async fn nothing_outside_and_nothing_of_git_is_written() {
    let outside = Fixture::new(&[("x", "kept")]);
    let fixture = Fixture::repository(&[("dir/x", "")]);
    symlink(outside.path(), fixture.path().join("out")).unwrap();
    symlink(outside.path().join("x"), fixture.path().join("file")).unwrap();
    symlink(".git", fixture.path().join("repo")).unwrap();
    let refused = async |path| fixture.refused("write_file", write(path, "y")).await;
    assert!(refused("../x").await.contains("climbs out"));
    assert!(refused("/tmp/x").await.contains("absolute"));
    assert!(refused(".git/hooks/pre-commit").await.contains("belongs to git"));
    assert_eq!(refused("out/x").await, "`out` goes through a symbolic link that is not followed");
    assert_eq!(refused("repo/config").await, "`repo` goes through a symbolic link that is not followed");
    assert_eq!(refused("file").await, "`file` is a symbolic link; write to the file it leads to");
    assert_eq!(refused("dir").await, "`dir` is a directory, not a file");
    assert_eq!(outside.read("x"), "kept");
}

#[tokio::test]
async fn resolves_to_the_content_that_would_be_replaced() {
    let fixture = Fixture::new(&[("a", "old")]);
    let resolved = async |path| {
        let call = fixture.call("write_file", write(path, "new")).unwrap();
        fixture.registry.resolve(&call, &fixture.workspace).await.unwrap()["$resolved"].clone()
    };
    assert_eq!(resolved("a").await, json!({"replaces_sha256": sha256(b"old")}));
    assert_eq!(resolved("b").await, json!({"replaces_sha256": null}));
    assert_eq!(resolved("no/such/b").await, json!({"replaces_sha256": null}));
}
