use super::*;
use crate::tools::fixture::Fixture;
use serde_json::json;

const MIXED: &str = r#"
import unittest

class Mixed(unittest.TestCase):
    def test_good(self):
        print("1 passed, 0 failed")

    def test_wrong(self):
        self.assertEqual(1, 2, "one is not two")

    def test_broken(self):
        raise KeyError("lost")

    @unittest.skip("later")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

    def test_parts(self):
        for part in (1, 2):
            with self.subTest(part=part):
                self.assertEqual(part, 1)
"#;

/// Runs with the machine's own interpreter, which may or may not have pytest; the driver is
/// told so by the fixture, not by the machine.
async fn run(fixture: &Fixture, parameters: Value) -> (u64, u64, Vec<String>) {
    let result = fixture.run("run_unit_tests", parameters).await.unwrap();
    let details = result["failure_details"].as_array().unwrap();
    let messages = details.iter().map(|failure| failure["message"].as_str().unwrap().to_owned()).collect();
    (result["passed"].as_u64().unwrap(), result["failed"].as_u64().unwrap(), messages)
}

#[tokio::test]
async fn counts_what_became_of_each_test() {
    let fixture = Fixture::new(&[("tests/__init__.py", ""), ("tests/test_mixed.py", MIXED)]);
    let (passed, failed, messages) = run(&fixture, json!({"verbose": false})).await;
    assert_eq!((passed, failed), (2, 3));
    let expected = ["KeyError: 'lost'", "AssertionError: 2 != 1", "AssertionError: 1 != 2 : one is not two"];
    assert_eq!(messages, expected);
    let (.., verbose) = run(&fixture, json!({})).await;
    assert!(verbose[0].starts_with("Traceback (most recent call last):"), "{}", verbose[0]);
    assert!(!fixture.path().join("tests/__pycache__").exists());
}

#[tokio::test]
async fn runs_one_module_by_name_or_path() {
    let one = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        pass\n";
    let fixture =
        Fixture::new(&[("tests/__init__.py", ""), ("tests/test_mixed.py", MIXED), ("tests/test_one.py", one)]);
    for module in ["tests.test_one", "tests/test_one.py"] {
        assert_eq!(run(&fixture, json!({"module": module})).await, (1, 0, vec![]), "{module}");
    }
    let (passed, failed, messages) = run(&fixture, json!({"module": "tests.nothing", "verbose": false})).await;
    assert_eq!((passed, failed), (0, 1));
    assert!(
        messages[0].contains("No module named 'tests.nothing'") || messages[0].contains("AttributeError"),
        "{messages:?}"
    );
}

#[tokio::test]
async fn a_module_that_does_not_import_is_a_failure() {
    let fixture = Fixture::new(&[("test_x.py", "import nothing_of_that_name\n")]);
    let (passed, failed, messages) = run(&fixture, json!({})).await;
    assert_eq!((passed, failed), (0, 1));
    assert!(messages[0].contains("nothing_of_that_name"), "{messages:?}");
}

#[tokio::test]
async fn no_tests_and_no_report_are_errors() {
    let empty = Fixture::new(&[("a.py", "")]);
    assert_eq!(empty.refused("run_unit_tests", json!({})).await, "no tests were found");
    let quitting =
        Fixture::new(&[("test_x.py", "import os, sys\nsys.stderr.write('bye')\nsys.stderr.flush()\nos._exit(7)\n")]);
    let refused = quitting.refused("run_unit_tests", json!({})).await;
    assert!(
        refused.starts_with("the test runner did not report: exit status: 7") && refused.ends_with("bye"),
        "{refused}"
    );
}

#[tokio::test]
async fn tests_see_a_clean_environment_and_a_home_of_their_own() {
    let test = "import os, unittest\nclass T(unittest.TestCase):\n    def test(self):\n        \
                self.assertEqual(os.environ.get('CARGO_MANIFEST_DIR'), None)\n        \
                self.assertEqual(os.environ['HOME'], os.environ['TMPDIR'])\n        \
                open(os.path.join(os.environ['HOME'], 'x'), 'w').close()\n";
    let fixture = Fixture::new(&[("test_x.py", test)]);
    assert_eq!(run(&fixture, json!({})).await, (1, 0, vec![]));
}

#[tokio::test]
async fn coverage_is_null_unless_it_was_measured() {
    let test = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        pass\n";
    // A stand-in that reports a fixed number: what is tested is how the driver asks.
    let coverage = "class CoverageException(Exception):\n    pass\n\n\nclass Coverage:\n    def __init__(self, **_):\n        \
                    pass\n    def start(self):\n        self.on = True\n    def stop(self):\n        self.on = False\n    \
                    def report(self, file):\n        return 87.654\n";
    let fixture = Fixture::new(&[("test_x.py", test), ("coverage.py", coverage)]);
    let result = fixture.run("run_unit_tests", json!({})).await.unwrap();
    assert_eq!(result["coverage_percent"], json!(87.65));
    let failing = Fixture::new(&[
        ("test_x.py", test),
        ("coverage.py", &coverage.replace("return 87.654", "raise CoverageException")),
    ]);
    assert_eq!(failing.run("run_unit_tests", json!({})).await.unwrap()["coverage_percent"], json!(null));
}

#[test]
fn many_and_long_failures_are_cut_and_say_so() {
    let failure = |message: &str| Failure { test: "t".to_owned(), message: message.to_owned() };
    let limits = Limits { failure_details_max: 1, ..Limits::default() };
    let kept = limited(vec![failure("a\0b"), failure("c"), failure("d")], &limits);
    let more = Failure { test: String::new(), message: "[guardrail: 2 more failures are not shown]".to_owned() };
    assert_eq!(kept, [failure("a\u{fffd}b"), more]);
}
