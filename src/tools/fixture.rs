//! What the tools' tests start from: a real directory, a real repository, the shipped settings.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};
use tempfile::TempDir;

use super::settings::{ToolConfig, tests::shipped};
use super::{Registry, ToolError, ValidCall, Workspace};

pub(super) struct Fixture {
    pub directory: TempDir,
    pub workspace: Workspace,
    pub registry: Registry,
}

impl Fixture {
    /// A directory with files.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self::with(files, |_| {})
    }

    /// The same with changed settings.
    pub(super) fn with(files: &[(&str, &str)], change: impl FnOnce(&mut ToolConfig)) -> Self {
        let directory = TempDir::new().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut config = shipped();
        change(&mut config);
        let registry = Registry::standard(config.tool_settings().unwrap()).unwrap();
        let workspace = Workspace::open(directory.path()).unwrap();
        Fixture { directory, workspace, registry }
    }

    /// A repository whose first commit holds the files.
    pub(super) fn repository(files: &[(&str, &str)]) -> Self {
        let fixture = Self::new(files);
        fixture.git(&["init", "--quiet", "--initial-branch=main"]);
        fixture.git(&["add", "--all"]);
        fixture.git(&["commit", "--quiet", "--allow-empty", "--message=start"]);
        fixture
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@t.invalid"])
            .args(arguments)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(super) fn call(&self, tool: &str, parameters: Value) -> Result<ValidCall, ToolError> {
        self.registry.validate(&tool.parse().unwrap(), &object(parameters))
    }

    /// Validates and runs.
    pub(super) async fn run(&self, tool: &str, parameters: Value) -> Result<Value, ToolError> {
        self.registry.run(&self.call(tool, parameters)?, &self.workspace).await
    }

    pub(super) async fn refused(&self, tool: &str, parameters: Value) -> String {
        self.run(tool, parameters).await.unwrap_err().to_string()
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}
