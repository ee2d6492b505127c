use super::*;
use proptest::prelude::*;
use std::process::Command;

fn path(text: &str) -> Result<String, String> {
    WorkspacePath::parse(text).map(|path| path.0).map_err(|error| error.to_string())
}

#[test]
fn a_workspace_path_is_relative_and_stays_inside() {
    assert_eq!(path("./backend//auth.py"), Ok("backend/auth.py".to_owned()));
    assert_eq!(path("a..b/..c"), Ok("a..b/..c".to_owned()));
    assert_eq!(
        path("../../../../etc/passwd"),
        Err("`../../../../etc/passwd` climbs out with `..`; a path stays inside the workspace".to_owned())
    );
    assert_eq!(
        path("/etc/passwd"),
        Err("`/etc/passwd` is an absolute path; give it relative to the workspace".to_owned())
    );
    for refused in ["", ".", "./", "a/", "a/../b", "~/x", "a\\..\\b", "a\0b", "a\nb", "a/\u{85}", &"x".repeat(4096)] {
        assert!(path(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn gits_files_and_the_agents_own_are_out_of_reach() {
    for part in
        [".git/config", "sub/.git/hooks/pre-commit", ".GIT/config", ".guardrail/state.db", "ipc_channel/x", ".git"]
    {
        assert!(path(part).unwrap_err().contains("belongs to git or to the agent itself"), "{part}");
    }
    assert_eq!(path(".github/x.yml"), Ok(".github/x.yml".to_owned()));
    assert_eq!(path(".gitignore"), Ok(".gitignore".to_owned()));
}

#[test]
fn branch_names_follow_gits_rules_and_hold_no_command() {
    for good in ["main", "feature/login-2", "v1.0", "a@b", "ünïcode", "x;y"] {
        assert_eq!(BranchName::parse(good).unwrap().as_str(), good);
    }
    assert_eq!(
        BranchName::parse("main; rm -rf /").unwrap_err().to_string(),
        "`main; rm -rf /` is not a branch name: it holds a space or one of ~ ^ : ? * [ \\"
    );
    let bad = [
        "",
        "-x",
        "--upload-pack=x",
        "HEAD",
        "@",
        "a..b",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a.",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a\nb",
        "a\u{7f}",
        "a\u{85}b",
        "main\0",
    ];
    for text in bad {
        assert!(BranchName::parse(text).is_err(), "{text:?}");
    }
}

/// What git itself says of `refs/heads/<name>`.
fn git_accepts(name: &str) -> bool {
    let output = Command::new("git").args(["check-ref-format", &format!("refs/heads/{name}")]).output().unwrap();
    output.status.success()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn branch_names_agree_with_git(name in "[a@{}.~^:?*\\[ /\\\\lock\\-;ü]{1,8}") {
        let ours = BranchName::parse(&name).is_ok();
        // Stricter than git in two things only: the leading dash and git's own names.
        let stricter = name.starts_with('-') || name == "@" || name == "HEAD";
        prop_assert_eq!(ours, git_accepts(&name) && !stricter, "{:?}", name);
    }
}

proptest! {
    #[test]
    fn a_parsed_path_never_leaves_and_parses_to_itself(text in "[a./\\\\~git\u{0}\n-]{0,24}") {
        if let Ok(parsed) = WorkspacePath::parse(&text) {
            prop_assert!(parsed.0.split('/').all(|part| !matches!(part, "" | "." | "..") && !is_protected(part)));
            prop_assert_eq!(WorkspacePath::parse(&parsed.0).unwrap(), parsed);
        }
    }

    #[test]
    fn no_text_makes_a_validator_panic(text in ".{0,300}") {
        let _ = (WorkspacePath::parse(&text), BranchName::parse(&text), DbName::parse(&text));
        let _ = (TestModule::parse(&text), FilePattern::parse(&text), EnvironmentName::parse(&text, &[]));
    }
}

#[test]
fn an_environment_is_on_the_list() {
    let allowed = ["production", "staging"].map(str::to_owned);
    assert_eq!(EnvironmentName::parse("staging", &allowed).unwrap().as_str(), "staging");
    assert_eq!(
        EnvironmentName::parse("prod", &allowed).unwrap_err().to_string(),
        "`prod` is not an allowed environment (did you mean `production`?); allowed: production, staging"
    );
    assert!(EnvironmentName::parse("Production", &allowed).is_err());
}

#[test]
fn databases_and_modules_are_plain_names() {
    assert!(["users", "_x", "a1"].iter().all(|name| DbName::parse(name).is_ok()));
    let long = "x".repeat(64);
    assert!(["", "1a", "a-b", "a;b", "a b", "ü", &long].iter().all(|name| DbName::parse(name).is_err()));
    for good in ["tests", "tests.test_auth", "tests/test_auth.py", "test_x.py"] {
        assert_eq!(TestModule::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "-x", "-c/x.py", "a b", "../x.py", "/x.py", "a;b", ".git/x.py"] {
        assert!(TestModule::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_file_pattern_is_a_glob_that_includes() {
    assert!(["*", "*.py", "backend/**", "{a,b}.py"].iter().all(|text| FilePattern::parse(text).is_ok()));
    assert!(["", "!*.py", "../*", "[", "a\nb"].iter().all(|text| FilePattern::parse(text).is_err()));
}
