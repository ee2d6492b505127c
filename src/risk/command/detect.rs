//! Finds what is true of a program with its words.

use super::args::{Arg, Role};
use super::facts::{Fact, Facts};
use super::invocation::{Invocation, Source};
use super::programs;
use super::verbs::verbs;
use crate::risk::text::environment::Environment;
use crate::risk::text::paths::PathClass;
use crate::risk::text::{code, names, sql};

/// Branches that nobody rewrites alone.
const PROTECTED: [&str; 9] = ["main", "master", "production", "prod", "release", "trunk", "stable", "develop", "live"];

/// Longest text that is searched for statements or calls, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Finds what is true of an invocation, and adds it to what the walk already knew.
pub fn find(invocation: &mut Invocation, known: bool) {
    let mut facts = invocation.facts;
    let program = invocation.program.as_str();
    let args = &invocation.args;
    facts.set(Fact::Unknown, !known);
    facts.set(Fact::Bare, args.is_empty());
    facts.set(Fact::Dynamic, args.iter().any(|arg| arg.dynamic));

    let mut environment = Environment::default();
    for word in &invocation.context {
        environment = environment.with(Environment::of(word));
    }
    let mut flag = "";
    for arg in args {
        paths(arg, &invocation.cwd, &mut facts);
        hosts(&arg.text, &mut facts);
        if arg.text.len() <= 512 && !(arg.text.contains(' ') && arg.role != Role::Flag) {
            let mut named = Environment::of(&arg.text);
            // Production may be named anywhere; development only where it says where to act.
            named.development &= names_place(program, flag, arg);
            environment = environment.with(named);
        }
        facts.set(Fact::ProtectedBranch, is_protected(&arg.text));
        flag = if arg.role == Role::Flag { arg.text.as_str() } else { "" };
    }
    if !known {
        environment = environment.with(Environment::of(program));
    }
    facts.set(Fact::Production, environment.production);
    facts.set(Fact::Development, environment.development && !environment.production);

    source(&invocation.stdin, &mut facts);
    verbs(invocation, known, &mut facts);
    if programs::is_database(program) {
        for text in texts(invocation).filter(|text| text.contains([' ', '(', ';'])) {
            statements(text, &mut facts);
        }
    }
    if programs::is_interpreter(program) {
        for text in programs::inline_code(invocation) {
            facts.add(Fact::InlineCode);
            calls(&text, &mut facts);
        }
    }
    if programs::is_installer(program) {
        packages(invocation, &mut facts);
    }
    facts.set(Fact::DryRun, dry_run(program, args));
    facts.set(Fact::Help, help(program, args));
    invocation.facts = facts;
}

/// Flags whose values say where a program acts.
const PLACES: [&str; 43] = [
    "n",
    "namespace",
    "context",
    "kube-context",
    "kubeconfig",
    "env",
    "environment",
    "e",
    "profile",
    "project",
    "stage",
    "cluster",
    "host",
    "h",
    "d",
    "database",
    "dbname",
    "subscription",
    "g",
    "resource-group",
    "app",
    "a",
    "s",
    "stack",
    "i",
    "inventory",
    "limit",
    "workspace",
    "account",
    "url",
    "target",
    "to",
    "on",
    "var-file",
    "var",
    "chdir",
    "f",
    "file",
    "values",
    "endpoint-url",
    "configuration",
    "server",
    "bootstrap-server",
];

/// Whether an argument stands for itself, or is the value of a flag that says where to act.
fn names_place(program: &str, previous_flag: &str, arg: &Arg) -> bool {
    let flag = match arg.role {
        Role::Positional => return true,
        Role::Flag => arg.text.split_once('=').map_or("", |(name, _)| name),
        Role::Value | Role::Either => previous_flag,
    };
    // What is sent somewhere says nothing of where.
    !matches!(program, "curl" | "wget" | "http" | "https" | "xh") && PLACES.contains(&flag.trim_start_matches('-'))
}

fn texts(invocation: &Invocation) -> impl Iterator<Item = &str> {
    let literal = match &invocation.stdin {
        Source::Literal(text) => Some(text.as_str()),
        _ => None,
    };
    invocation.args.iter().map(|arg| arg.text.as_str()).chain(literal).filter(|text| text.len() <= TEXT_BYTES_MAX)
}

fn paths(arg: &Arg, cwd: &str, facts: &mut Facts) {
    let text = match (arg.role, arg.text.split_once('=')) {
        (Role::Flag, Some((_, value))) => value,
        (Role::Flag, None) => return,
        (_, Some((name, value))) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => value,
        (..) => &arg.text,
    };
    let text = text.trim_start_matches('@');
    if text.is_empty() || text.len() > 4096 || text.contains(['\n', ';']) || text.contains("://") {
        return;
    }
    let class = PathClass::of(text, cwd);
    facts.set(Fact::Secret, class.secret);
    facts.set(Fact::Pipeline, class.pipeline);
    facts.set(Fact::Autorun, class.autorun);
    facts.set(Fact::Device, class.device);
    if matches!(arg.role, Role::Positional | Role::Either) || arg.text.contains('=') {
        facts.set(Fact::Root, class.root);
        facts.set(Fact::System, class.system);
        facts.set(Fact::Outside, class.outside);
        facts.set(Fact::WorkspaceRoot, class.workspace_root);
        facts.set(Fact::GitDir, class.git_dir);
        facts.set(Fact::Wildcard, text.rsplit('/').next().is_some_and(|last| last.starts_with('*')));
        facts.set(Fact::Lasting, !class.disposable);
    }
}

fn hosts(text: &str, facts: &mut Facts) {
    let lower = text.to_ascii_lowercase();
    let host = if let Some((_, rest)) = lower.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Some(authority.rsplit('@').next().unwrap_or(authority).to_owned())
    } else if let Some((user, host)) = lower.split_once('@') {
        let plain = !user.is_empty() && !host.is_empty() && !user.contains(['/', ' ', '.']) && !host.contains(' ');
        plain.then(|| host.split(':').next().unwrap_or(host).to_owned())
    } else {
        lower
            .split_once(':')
            .filter(|(host, path)| {
                host.len() > 1 && host.contains('.') && !host.contains(['/', ' ']) && !path.is_empty()
            })
            .map(|(host, _)| host.to_owned())
    };
    let local = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "host.docker.internal"];
    if let Some(host) = host {
        let name = host.split(':').next().unwrap_or(&host);
        let loopback =
            local.iter().any(|l| name == *l || host == *l) || name.ends_with(".local") || name.ends_with(".localhost");
        facts.set(Fact::Loopback, loopback);
        facts.set(Fact::Remote, !loopback && !name.is_empty());
    } else if local.iter().any(|l| lower == *l || lower.starts_with(&format!("{l}:"))) {
        facts.add(Fact::Loopback);
    }
}

fn is_protected(text: &str) -> bool {
    let name = text.rsplit(':').next().unwrap_or(text);
    let name = name
        .trim_start_matches('+')
        .trim_start_matches("refs/heads/")
        .trim_start_matches("origin/")
        .trim_start_matches("upstream/");
    PROTECTED.contains(&name)
        || name.starts_with("release/")
        || name.starts_with("hotfix/")
        || name.starts_with("releases/")
}

fn source(stdin: &Source, facts: &mut Facts) {
    match stdin {
        Source::Nothing | Source::Literal(_) | Source::Local | Source::Listing(_) => {}
        Source::Network => facts.add(Fact::InNetwork),
        Source::Decoded => facts.add(Fact::InDecoded),
        Source::Secret => facts.add(Fact::InSecret),
        Source::Dump => facts.add(Fact::InDump),
        Source::Unknown => facts.add(Fact::InUnknown),
    }
}

fn statements(text: &str, facts: &mut Facts) {
    let found = sql::read(text);
    facts.set(Fact::SqlDestructive, found.destructive);
    facts.set(Fact::SqlUnbounded, found.unbounded);
    facts.set(Fact::SqlPrivilege, found.privilege);
    facts.set(Fact::SqlEscape, found.escape);
    facts.set(Fact::SqlWrite, found.write);
}

fn calls(text: &str, facts: &mut Facts) {
    let found = code::read(text);
    facts.set(Fact::CodeDestroys, found.destroys);
    facts.set(Fact::CodeExecutes, found.executes);
    facts.set(Fact::CodeConnects, found.connects);
    facts.set(Fact::CodeSecrets, found.reads_secrets);
    facts.set(Fact::CodeDecodes, found.decodes);
    let harmful = text.contains("DROP TABLE")
        || text.contains("drop table")
        || text.contains("DROP DATABASE")
        || text.contains("TRUNCATE TABLE");
    facts.set(Fact::CodeDestroys, harmful);
}

fn packages(invocation: &Invocation, facts: &mut Facts) {
    let mut words = invocation.args.iter().filter(|arg| matches!(arg.role, Role::Positional | Role::Either));
    let installs = words.by_ref().any(|arg| matches!(arg.text.as_str(), "install" | "add" | "i" | "dlx" | "require"));
    let direct = matches!(invocation.program.as_str(), "npx" | "pipx" | "uvx" | "bunx" | "easy_install");
    let rest: Vec<&Arg> = if installs { words.collect() } else { Vec::new() };
    let all = invocation.args.iter().filter(|arg| direct && arg.role != Role::Flag);
    for arg in rest.into_iter().chain(all) {
        if arg.text.starts_with('.') || arg.text.starts_with('/') {
            continue;
        }
        facts.set(Fact::Typosquat, names::near_miss(&arg.text).is_some());
        facts.set(Fact::Foreign, names::is_foreign(&arg.text));
    }
    // An index or a requirements file from elsewhere is as foreign as a package from there.
    let mut previous = "";
    for arg in &invocation.args {
        let (flag, value) = match arg.text.split_once('=') {
            Some((flag, value)) if arg.role == Role::Flag => (flag, value),
            _ => (previous, arg.text.as_str()),
        };
        if matches!(
            flag,
            "--index-url"
                | "-i"
                | "--extra-index-url"
                | "--registry"
                | "--trusted-host"
                | "-r"
                | "--requirement"
                | "--find-links"
                | "-f"
                | "-e"
                | "--git"
        ) && names::is_foreign(value)
        {
            let usual =
                ["pypi.org", "registry.npmjs.org", "registry.yarnpkg.com", "download.pytorch.org", "index.crates.io"];
            facts.set(Fact::Foreign, !usual.iter().any(|host| value.contains(host)));
        }
        previous = if arg.role == Role::Flag { arg.text.as_str() } else { "" };
    }
}

fn dry_run(program: &str, args: &[Arg]) -> bool {
    let flag = |name: &str| args.iter().any(|arg| arg.role == Role::Flag && arg.text == name);
    let short = |letter: char| {
        args.iter().any(|arg| {
            arg.role == Role::Flag && !arg.text.starts_with("--") && arg.text.len() <= 6 && arg.text.contains(letter)
        })
    };
    let long = args.iter().enumerate().any(|(at, arg)| {
        arg.role == Role::Flag
            && match arg.text.split_once('=') {
                Some(("--dry-run" | "--dryrun", value)) => matches!(value, "client" | "server" | "true" | "1" | "yes"),
                Some(_) => false,
                None => match arg.text.as_str() {
                    "--dry-run" | "--dryrun" => {
                        args.get(at + 1).is_none_or(|next| next.text != "none" && next.text != "false")
                    }
                    "--noop" | "--no-op" | "--what-if" | "--whatif" | "-WhatIf" | "--preview" | "--simulate"
                    | "--just-print" | "--no-execute" => true,
                    _ => false,
                },
            }
    });
    long || match program {
        "make" | "gmake" | "rsync" => short('n'),
        "git" => short('n') && args.iter().any(|arg| matches!(arg.text.as_str(), "clean" | "push" | "rm" | "add")),
        "ansible-playbook" => {
            flag("--check") || flag("-C") || flag("--syntax-check") || flag("--list-tasks") || flag("--list-hosts")
        }
        "apt" | "apt-get" => flag("-s"),
        "bash" | "sh" | "zsh" => short('n'),
        "nft" | "logrotate" => flag("-c") || flag("-d"),
        _ => false,
    }
}

/// Programs whose first word is a file, a process or a name, so that `help` is one as well, or that
/// mean something else by `-h`.
const NO_SUBCOMMANDS: [&str; 40] = [
    "rm",
    "rmdir",
    "unlink",
    "shred",
    "srm",
    "truncate",
    "dd",
    "chmod",
    "chown",
    "chgrp",
    "cp",
    "mv",
    "ln",
    "tee",
    "kill",
    "killall",
    "pkill",
    "userdel",
    "passwd",
    "dropdb",
    "dropuser",
    "ssh",
    "scp",
    "rsync",
    "curl",
    "wget",
    "cat",
    "shutdown",
    "halt",
    "poweroff",
    "reboot",
    "psql",
    "mysql",
    "redis-cli",
    "mongosh",
    "mongo",
    "pg_restore",
    "sqlite3",
    "mkfs",
    "tar",
];

/// Help is asked for where nothing but positionals stands beside the flag.
fn help(program: &str, args: &[Arg]) -> bool {
    let plain =
        !NO_SUBCOMMANDS.contains(&program) && !programs::is_shell(program) && !programs::is_interpreter(program);
    let asks = |text: &str| {
        matches!(text, "--help" | "--version" | "-version" | "-help")
            || (plain && matches!(text, "-h" | "help" | "version"))
    };
    let flags = args.iter().filter(|arg| arg.role == Role::Flag).count();
    let alone = args.len() == 1;
    // `-h` with a word after it names a host more often than it asks.
    let first =
        args.first().is_some_and(|arg| (asks(&arg.text) && (alone || arg.text != "-h")) || (alone && arg.text == "-V"));
    let last = args.last().is_some_and(|arg| asks(&arg.text) && arg.role == Role::Flag);
    (first && flags <= 1) || (last && flags == 1)
}
