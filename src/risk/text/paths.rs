//! What a path stands for, from its words alone; nothing is looked up.

use super::path_kinds::{autorun, pipeline, secret};

/// What is known of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathClass {
    /// `/`, a home directory, or a directory right below the root, whole.
    pub root: bool,
    /// The workspace itself, whole.
    pub workspace_root: bool,
    /// Part of the operating system.
    pub system: bool,
    /// Neither in the workspace nor in a directory for temporary files.
    pub outside: bool,
    /// Made by a build, a test or a cache, or temporary: it can be made again.
    pub disposable: bool,
    /// Holds credentials.
    pub secret: bool,
    /// A disk or memory.
    pub device: bool,
    /// Runs by itself later: start-up files, schedules, hooks, authorized keys.
    pub autorun: bool,
    /// Says how software is built, tested, deployed or hosted.
    pub pipeline: bool,
    /// Changes the shape of a database.
    pub migration: bool,
    /// The repository's own storage.
    pub git_dir: bool,
}

const SYSTEM: [&str; 18] = [
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
    "/dev",
    "/proc",
    "/sys",
    "/var",
    "/root",
    "/opt",
    "/srv",
    "/system",
    "/library",
    "/applications",
    "c:/windows",
];

const DISPOSABLE: [&str; 93] = [
    "node_modules",
    "bower_components",
    "target",
    "dist",
    "build",
    "_build",
    "out",
    "output",
    "obj",
    "tmp",
    "temp",
    "cache",
    ".cache",
    "caches",
    "__pycache__",
    ".venv",
    "venv",
    "virtualenv",
    ".virtualenv",
    ".tox",
    ".nox",
    ".eggs",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    ".ipynb_checkpoints",
    "coverage",
    ".coverage",
    "htmlcov",
    ".nyc_output",
    "lcov.info",
    ".next",
    ".nuxt",
    ".svelte-kit",
    ".angular",
    ".turbo",
    ".parcel-cache",
    ".vite",
    ".expo",
    ".gradle",
    "deriveddata",
    "pods",
    ".dart_tool",
    "elm-stuff",
    "cmakefiles",
    "cmakecache.txt",
    "test-results",
    "test_results",
    "test-output",
    "test_output",
    "test-reports",
    "playwright-report",
    "reports",
    "allure-results",
    "junit.xml",
    "cdk.out",
    ".serverless",
    ".webpack",
    ".terraform",
    "storybook-static",
    ".docusaurus",
    "_site",
    ".jekyll-cache",
    "site-packages",
    "wheelhouse",
    "wheels",
    "artifacts",
    "generated",
    "scratch",
    "debug",
    "release",
    ".sass-cache",
    ".eslintcache",
    ".stylelintcache",
    ".ds_store",
    "zig-cache",
    "zig-out",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "composer.lock",
    "gemfile.lock",
    "bun.lockb",
    ".nyc",
    "screenshots",
    "snapshots",
    "logs",
    "vendor",
    ".bloop",
    ".metals",
    "nohup.out",
    "a.out",
];

const DISPOSABLE_ENDS: [&str; 29] = [
    ".log",
    ".pyc",
    ".pyo",
    ".o",
    ".so",
    ".a",
    ".dylib",
    ".obj",
    ".class",
    ".tmp",
    ".temp",
    ".bak",
    ".swp",
    ".orig",
    ".rej",
    "~",
    ".egg-info",
    ".gcda",
    ".gcno",
    ".profraw",
    ".whl",
    ".tgz",
    ".coverage",
    "-build",
    "_build",
    "-cache",
    "_cache",
    ".cache",
    ".tsbuildinfo",
];

const DISPOSABLE_STARTS: [&str; 8] =
    ["cmake-build-", "build-", "build_", "tmp-", "tmp_", "tmp.", "npm-debug.log", ".coverage."];

impl PathClass {
    /// Reads a path that is meant from `cwd`, itself relative to the workspace or absolute.
    pub fn of(text: &str, cwd: &str) -> PathClass {
        let lower = joined(text, cwd).to_lowercase();
        let path = normalised(&lower);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "~").collect();
        let last = parts.last().copied().unwrap_or_default();
        let absolute = path.starts_with('/') || path.starts_with('~') || drive(&path);
        let temporary = (["/tmp/", "/var/tmp/", "/private/tmp/", "/dev/shm/", "/var/folders/"])
            .iter()
            .any(|prefix| path.starts_with(prefix));
        let whole = |part: &str| part.chars().all(|c| matches!(c, '*' | '.' | '?'));
        let named: Vec<&str> = parts.iter().copied().filter(|part| !whole(part)).collect();
        let tilde = path.starts_with('~');
        let root = absolute
            && !temporary
            && (named.is_empty()
                || (!tilde && named.len() == 1 && parts.len() <= 2 && !path.starts_with("/tmp"))
                || (named.len() == 2 && named[0] == "home")
                || (drive(&path) && named.len() <= 1))
            || path.starts_with("..") && named.is_empty();
        let device = path.starts_with("/dev/") && is_device(&path["/dev/".len()..]);
        let system = !temporary
            && !harmless_device(&path)
            && SYSTEM.iter().any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}/")));
        let test_like = parts.iter().any(|part| {
            part.split(|c: char| !c.is_alphanumeric()).any(|word| {
                matches!(
                    word,
                    "test"
                        | "tests"
                        | "fixture"
                        | "fixtures"
                        | "example"
                        | "examples"
                        | "sample"
                        | "mock"
                        | "mocks"
                        | "dummy"
                        | "template"
                        | "templates"
                        | "testdata"
                        | "spec"
                        | "snakeoil"
                )
            })
        });
        let throwaway = parts.iter().any(|part| disposable_name(part));
        PathClass {
            root,
            workspace_root: !absolute && !path.starts_with("..") && named.is_empty() && !text.is_empty(),
            system,
            outside: !temporary && !harmless_device(&path) && (absolute || path.starts_with("..")),
            disposable: temporary || (throwaway && !system && !root),
            secret: secret(&path, &parts, last) && !test_like,
            device,
            autorun: autorun(&path, &parts, last),
            pipeline: pipeline(&path, &parts, last),
            migration: parts.iter().any(|part| {
                matches!(*part, "migrations" | "migration" | "alembic" | "flyway" | "liquibase" | "changelogs")
                    || *part == "migrate"
            }),
            git_dir: parts.contains(&".git"),
        }
    }
}

fn joined(text: &str, cwd: &str) -> String {
    let text = text.trim().replace('\\', "/");
    let absolute = text.starts_with('/') || text.starts_with('~') || text.starts_with('$') || drive(&text);
    if cwd.is_empty() || absolute { text } else { format!("{cwd}/{text}") }
}

fn drive(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && bytes.get(2).is_none_or(|c| *c == b'/')
}

/// Takes out `.`, doubled slashes and what `..` undoes.
fn normalised(path: &str) -> String {
    let lead = if path.starts_with('/') { "/" } else { "" };
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match kept.last() {
                Some(last) if *last != ".." && *last != "~" => {
                    kept.pop();
                }
                Some(_) | None if lead.is_empty() => kept.push(".."),
                Some(_) | None => {}
            },
            part => kept.push(part),
        }
    }
    format!("{lead}{}", kept.join("/"))
}

fn is_device(name: &str) -> bool {
    [
        "sd", "hd", "vd", "xvd", "nvme", "disk", "rdisk", "mmcblk", "md", "mapper/", "dm-", "mem", "kmem", "port",
        "loop", "vg",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

fn harmless_device(path: &str) -> bool {
    matches!(
        path,
        "/dev/null"
            | "/dev/stdout"
            | "/dev/stderr"
            | "/dev/stdin"
            | "/dev/tty"
            | "/dev/zero"
            | "/dev/urandom"
            | "/dev/random"
            | "/dev/full"
    ) || path.starts_with("/dev/fd/")
        || path.starts_with("/dev/pts/")
}

fn disposable_name(name: &str) -> bool {
    let name = name.trim_end_matches('*');
    DISPOSABLE.contains(&name)
        || DISPOSABLE_ENDS.iter().any(|end| name.len() > end.len() && name.ends_with(end))
        || DISPOSABLE_STARTS.iter().any(|start| name.starts_with(start))
        || name.strip_prefix('*').is_some_and(|end| DISPOSABLE_ENDS.contains(&end))
        || name.split(|c: char| !c.is_alphanumeric()).any(|word| {
            matches!(word, "tmp" | "temp" | "cache" | "caches" | "cacache" | "pycache" | "dist" | "coverage")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> PathClass {
        PathClass::of(text, "")
    }

    #[test]
    fn a_path_is_what_its_words_say() {
        for path in [
            "/",
            "/*",
            "~",
            "~/",
            "$HOME/..",
            "/home",
            "/home/bob",
            "/etc",
            "/./",
            "//",
            "..",
            "../..",
            "c:\\",
            "/usr/../",
        ] {
            assert!(of(path).root || path.starts_with('$'), "{path}: {:?}", of(path));
        }
        for path in [".", "./", "*", "./*", ".*"] {
            assert!(of(path).workspace_root && !of(path).outside, "{path}");
        }
        for path in [
            "node_modules",
            "./target/",
            "a/b/__pycache__",
            "/tmp/x",
            "build/*",
            "*.pyc",
            "/home/me/app/node_modules",
            "x/dist",
        ] {
            assert!(of(path).disposable && !of(path).root, "{path}: {:?}", of(path));
        }
        for path in ["/etc/passwd", "/usr/lib/node_modules", "/var/lib/postgresql", "/boot/vmlinuz", "/tmp/../etc/x"] {
            assert!(of(path).system && of(path).outside && !of(path).disposable, "{path}");
        }
        assert!(PathClass::of("*", "build").disposable && PathClass::of("*", "/etc").system);
        assert!(
            of("/dev/sda").device && of("/dev/nvme0n1").device && !of("/dev/null").device && !of("/dev/null").system
        );
    }

    #[test]
    fn credentials_and_what_runs_by_itself() {
        for path in [
            ".env",
            ".env.production",
            "~/.ssh/id_rsa",
            "config/secrets.yml",
            "server.key",
            "~/.aws/credentials",
            "/etc/shadow",
            "~/.kube/config",
            "credentials.json",
            "terraform.tfstate",
        ] {
            assert!(of(path).secret, "{path}");
        }
        for path in [
            ".env.example",
            "id_rsa.pub",
            "src/secrets.py",
            "tests/fixtures/server.key",
            "~/.ssh/known_hosts",
            "keys.rs",
            "src/env.ts",
        ] {
            assert!(!of(path).secret, "{path}");
        }
        for path in ["~/.bashrc", "~/.ssh/authorized_keys", "/etc/cron.d/x", ".git/hooks/pre-commit"] {
            assert!(of(path).autorun, "{path}");
        }
        for path in [".github/workflows/ci.yml", "main.tf", "k8s/deployment.yaml", "Jenkinsfile"] {
            assert!(of(path).pipeline, "{path}");
        }
        for path in [
            "src/deploy.py",
            "docs/terraform.md",
            "Dockerfile",
            "README.md",
            "config/app.yaml",
            ".github/PULL_REQUEST_TEMPLATE.md",
        ] {
            assert!(!of(path).pipeline, "{path}");
        }
    }
}
