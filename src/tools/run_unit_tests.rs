//! `run_unit_tests`: the workspace's Python tests, by pytest where the workspace has it and
//! by unittest where it has not, with coverage where it can be measured.
//!
//! A small driver runs inside the tests' own interpreter and writes its counts as JSON to a
//! file, so that nothing is read out of what the tests print.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Instant;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ToolError;
use super::output;
use super::process::{self, Finished, Invocation, pair};
use super::registry::{Context, Tool, ValidCall};
use super::settings::Limits;
use super::spec::{Declaration, Kind, Parameter};
use super::validators::TestModule;
use super::workspace::Workspace;
use crate::crypto::random;
use crate::schema::Tier;

/// The driver's text.
const DRIVER: &str = include_str!("run_unit_tests.py");
/// Largest report, in bytes.
const REPORT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most of one failure's description, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Most of the runner's own words in an error, in bytes.
const WORDS_BYTES_MAX: usize = 2 * 1024;
/// Interpreters of a workspace's own virtual environment, the first that is there.
const OWN_INTERPRETERS: [&str; 2] = [".venv/bin/python", "venv/bin/python"];

const DECLARATION: Declaration = Declaration {
    name: "run_unit_tests",
    tier: Tier::Write,
    base_risk_bps: 3000,
    description: "Runs the unit tests of the workspace. Returns how many passed and failed, the coverage where it was \
                  measured, the duration in seconds, and the failures.",
    parameters: &[
        Parameter {
            name: "module",
            kind: Kind::TestModule,
            required: false,
            description: "One test module, such as tests.test_auth; all tests by default.",
        },
        Parameter {
            name: "verbose",
            kind: Kind::Boolean,
            required: false,
            description: "Whether failures come with their whole traceback; true by default.",
        },
    ],
};

#[derive(Deserialize)]
struct Input {
    module: Option<TestModule>,
    #[serde(default = "verbose_by_default")]
    verbose: bool,
}

fn verbose_by_default() -> bool {
    true
}

#[derive(Debug, PartialEq, Serialize)]
struct Output {
    passed: u64,
    failed: u64,
    /// Null where it was not measured.
    coverage_percent: Option<f64>,
    /// Seconds.
    duration: f64,
    failure_details: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    test: String,
    message: String,
}

/// What the driver writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    passed: u64,
    failed: u64,
    skipped: u64,
    coverage_percent: Option<f64>,
    failures: Vec<Failure>,
}

pub(super) struct RunUnitTests;

#[async_trait]
impl Tool for RunUnitTests {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATION
    }

    async fn run(&self, call: &ValidCall, context: &Context<'_>) -> Result<Value, ToolError> {
        let input: Input = call.input()?;
        let private = PrivateDirectory::create()?;
        let started = Instant::now();
        let finished = process::run(invocation(&input, context, &private)?).await?;
        let duration = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let report = read_report(&private, &finished)?;
        if report.passed + report.failed + report.skipped == 0 {
            let asked = input.module.map(|module| format!(" in `{module}`")).unwrap_or_default();
            return Err(ToolError::NoTests(asked));
        }
        call.output(&Output {
            passed: report.passed,
            failed: report.failed,
            coverage_percent: report.coverage_percent.map(|percent| (percent * 100.0).round() / 100.0),
            duration,
            failure_details: limited(report.failures, &context.settings.limits),
        })
    }
}

fn invocation(input: &Input, context: &Context<'_>, private: &PrivateDirectory) -> Result<Invocation, ToolError> {
    let root = context.workspace.root();
    let driver = private.path.join("guardrail_test_driver.py");
    std::fs::write(&driver, DRIVER).map_err(|source| ToolError::File {
        action: "write",
        path: driver.display().to_string(),
        source,
    })?;
    let mut environment = process::base_environment(root);
    environment.extend([
        pair("HOME", &private.path),
        pair("TMPDIR", &private.path),
        // A cache beside the sources would be taken for a change, and can outlive its source.
        pair("PYTHONDONTWRITEBYTECODE", "1"),
        pair("PYTHONNOUSERSITE", "1"),
        pair("PYTHONUTF8", "1"),
    ]);
    let module = input.module.as_ref().map(TestModule::as_str).unwrap_or_default();
    let verbose = if input.verbose { "verbose" } else { "brief" };
    Ok(Invocation {
        program: interpreter(context.workspace),
        arguments: vec![driver.into(), private.report().into(), verbose.into(), module.into()],
        directory: root.to_owned(),
        environment,
        output_bytes_max: context.settings.limits.output_bytes_max,
    })
}

/// The workspace's own interpreter, or the machine's.
fn interpreter(workspace: &Workspace) -> OsString {
    let own = OWN_INTERPRETERS.iter().map(|name| workspace.root().join(name)).find(|path| path.is_file());
    own.map_or_else(|| OsString::from("python3"), PathBuf::into_os_string)
}

fn read_report(private: &PrivateDirectory, finished: &Finished) -> Result<Report, ToolError> {
    let mut text = String::new();
    let read = File::open(private.report()).and_then(|file| file.take(REPORT_BYTES_MAX).read_to_string(&mut text));
    let parsed = read
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_str(&text).map_err(|error| error.to_string()));
    parsed.map_err(|why| {
        let words = finished.stderr.text();
        ToolError::TestRunner(format!("{} ({why})\n{}", finished.status, output::tail(words.trim(), WORDS_BYTES_MAX)))
    })
}

/// The failures within the limits; a last entry says how many more there are.
fn limited(failures: Vec<Failure>, limits: &Limits) -> Vec<Failure> {
    let max = limits.failure_details_max;
    let more = failures.len().saturating_sub(max);
    let mut kept: Vec<Failure> = failures.into_iter().take(max).collect();
    for failure in &mut kept {
        failure.message = output::tail(&failure.message.replace('\0', "\u{fffd}"), MESSAGE_BYTES_MAX);
        failure.test = output::cut(&failure.test.replace('\0', "\u{fffd}"), MESSAGE_BYTES_MAX);
    }
    if more > 0 {
        let message = format!("[guardrail: {more} more failures are not shown]");
        kept.push(Failure { test: String::new(), message });
    }
    kept
}

/// A directory of one run: home, temporary files, driver and report. Removed at the end.
struct PrivateDirectory {
    path: PathBuf,
}

impl PrivateDirectory {
    fn create() -> Result<Self, ToolError> {
        let tag: [u8; 8] = random::bytes().map_err(ToolError::Random)?;
        let path = std::env::temp_dir().join(format!("guardrail-tests-{}", alloy::hex::encode(tag)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|source| ToolError::File {
            action: "create",
            path: path.display().to_string(),
            source,
        })?;
        Ok(PrivateDirectory { path })
    }

    fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the directory of a test run");
        }
    }
}

#[cfg(test)]
#[path = "run_unit_tests_tests.rs"]
mod tests;
