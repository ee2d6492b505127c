//! What is true of one program with its words: the vocabulary that rules are written in.

use super::invocation::{Invocation, Source};
use super::programs;
use crate::risk::text::environment::Environment;
use crate::risk::text::paths::PathClass;
use crate::risk::text::{code, names, sql};

use super::args::{Arg, Role};

macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// One thing that may be true of an invocation; rules name it as `<name>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Fact {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Fact {
            pub const ALL: &[Fact] = &[$(Fact::$variant),*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Fact::$variant => $name,)*
                }
            }
        }
    };
}

facts! {
    /// A path is `/`, a home directory or a directory right below the root.
    Root = "root",
    /// A path is the workspace itself.
    WorkspaceRoot = "workspace_root",
    /// A path belongs to the operating system.
    System = "system",
    /// A path is neither in the workspace nor temporary.
    Outside = "outside",
    /// A path cannot be made again by a build.
    Lasting = "lasting",
    /// A path holds credentials.
    Secret = "secret",
    /// A path is a disk or memory.
    Device = "device",
    /// A path is run by itself later.
    Autorun = "autorun",
    /// A path says how software is built, deployed or hosted.
    Pipeline = "pipeline",
    /// A path is in the repository's own storage.
    GitDir = "git_dir",
    /// A word is only known when it runs.
    Dynamic = "dynamic",
    /// A path ends in a wildcard.
    Wildcard = "wildcard",
    /// A production environment is named.
    Production = "prod",
    /// A development or test environment is named, and no production one.
    Development = "dev",
    /// A protected branch is named.
    ProtectedBranch = "protected_branch",
    /// A host that is not this machine is named.
    Remote = "remote",
    /// This machine is named as the host.
    Loopback = "loopback",
    /// Statements that remove tables or databases.
    SqlDestructive = "sql_destructive",
    /// Statements that change every row.
    SqlUnbounded = "sql_unbounded",
    /// Statements that change who may do what.
    SqlPrivilege = "sql_privilege",
    /// Statements that reach the server's files or programs.
    SqlEscape = "sql_escape",
    /// Statements that change rows or shapes.
    SqlWrite = "sql_write",
    /// Code that removes files.
    CodeDestroys = "code_destroys",
    /// Code that runs programs or text.
    CodeExecutes = "code_executes",
    /// Code that opens connections.
    CodeConnects = "code_connects",
    /// Code that reads credentials.
    CodeSecrets = "code_secrets",
    /// Code that decodes.
    CodeDecodes = "code_decodes",
    /// Code is given on the command line or by a here-document.
    InlineCode = "inline_code",
    /// Reads what came from the network.
    InNetwork = "in_network",
    /// Reads what was decoded.
    InDecoded = "in_decoded",
    /// A word is made of what came from the network, or was decoded.
    GivenForeign = "given_foreign",
    /// Reads credentials.
    InSecret = "in_secret",
    /// Reads a dump of data.
    InDump = "in_dump",
    /// Reads something that is not known.
    InUnknown = "in_unknown",
    /// A word removes something for good.
    Destroys = "destroys",
    /// A word brings something to others.
    Releases = "releases",
    /// A word changes something.
    Alters = "alters",
    /// A word looks at something.
    Looks = "looks",
    /// The program with these words only looks.
    Reads = "reads",
    /// No rule and no list knows the program.
    Unknown = "unknown",
    /// The program's name is only known when it runs.
    DynamicProgram = "dynamic_program",
    /// A package's name is one slip away from a popular one.
    Typosquat = "typosquat",
    /// A package comes from outside the index.
    Foreign = "foreign",
    /// Words say that nothing shall happen.
    DryRun = "dry_run",
    /// Words ask for help alone.
    Help = "help",
    /// Runs as the administrator.
    Privileged = "privileged",
    /// Runs on another machine or in a container.
    Elsewhere = "elsewhere",
    /// No words follow.
    Bare = "bare",
}

/// A set of facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts(u64);

impl Facts {
    pub fn add(&mut self, fact: Fact) {
        self.0 |= 1 << fact as u64;
    }

    pub fn set(&mut self, fact: Fact, holds: bool) {
        if holds {
            self.add(fact);
        }
    }

    pub const fn has(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u64) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Fact> {
        Fact::ALL.iter().copied().filter(move |fact| self.has(*fact))
    }
}

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
    for arg in args {
        paths(arg, &invocation.cwd, &mut facts);
        hosts(&arg.text, &mut facts);
        if arg.text.len() <= 512 && !programs::speaks_text(program, arg) {
            environment = environment.with(Environment::of(&arg.text));
        }
        facts.set(Fact::ProtectedBranch, is_protected(&arg.text));
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
    facts.set(Fact::Help, help(args));
    invocation.facts = facts;
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

/// Verbs after which something is gone.
const DESTROYS: [&str; 37] = [
    "delete",
    "deletes",
    "destroy",
    "destroys",
    "drop",
    "purge",
    "wipe",
    "erase",
    "nuke",
    "teardown",
    "truncate",
    "flush",
    "flushall",
    "terminate",
    "revoke",
    "uninstall",
    "decommission",
    "deprovision",
    "obliterate",
    "shred",
    "dropdb",
    "rollback",
    "unpublish",
    "yank",
    "undeploy",
    "overwrite",
    "failover",
    "reset",
    "expunge",
    "clobber",
    "refund",
    "liquidate",
    "annihilate",
    "grant",
    "evict",
    "shutdown",
    "decommissions",
];
/// Verbs after which others have something.
const RELEASES: [&str; 16] = [
    "deploy",
    "deploys",
    "publish",
    "release",
    "promote",
    "rollout",
    "ship",
    "provision",
    "golive",
    "cutover",
    "redeploy",
    "broadcast",
    "push",
    "upload",
    "deployer",
    "releases",
];
/// Verbs that change something; where it is production that is enough.
const ALTERS: [&str; 53] = [
    "install",
    "apply",
    "upgrade",
    "migrate",
    "restore",
    "import",
    "sync",
    "activate",
    "enable",
    "exec",
    "set",
    "update",
    "create",
    "scale",
    "restart",
    "start",
    "stop",
    "write",
    "put",
    "remove",
    "rm",
    "del",
    "disable",
    "deactivate",
    "rotate",
    "drain",
    "shutdown",
    "suspend",
    "detach",
    "evict",
    "halt",
    "kill",
    "add",
    "edit",
    "patch",
    "up",
    "down",
    "run",
    "seed",
    "grant",
    "unlock",
    "replace",
    "move",
    "rename",
    "merge",
    "execute",
    "send",
    "reload",
    "reboot",
    "switch",
    "toggle",
    "backfill",
    "invalidate",
];
/// Verbs that look and change nothing.
const LOOKS: [&str; 48] = [
    "get", "list", "ls", "show", "status", "log", "logs", "describe", "view", "info", "check", "plan", "diff", "build",
    "test", "tests", "lint", "watch", "tail", "ps", "help", "version", "search", "validate", "verify", "whoami",
    "inspect", "explain", "dry", "preview", "print", "query", "select", "fetch", "pull", "history", "docs", "doctor",
    "health", "ping", "top", "stats", "render", "template", "compile", "bundle", "graph", "format",
];
/// Words beside a verb that make a look or a local build of it.
const SOFTENS: [&str; 26] = [
    "test",
    "tests",
    "check",
    "lint",
    "dry",
    "docs",
    "doc",
    "plan",
    "preview",
    "validate",
    "verify",
    "status",
    "notes",
    "mock",
    "simulate",
    "list",
    "logs",
    "log",
    "diff",
    "build",
    "assemble",
    "compile",
    "package",
    "cache",
    "template",
    "changelog",
];

/// Words of the program's name and of the first positionals that say what is done.
fn verbs(invocation: &Invocation, known: bool, facts: &mut Facts) {
    let positionals = invocation.args.iter().filter(|arg| matches!(arg.role, Role::Positional | Role::Either)).take(4);
    let name = (!known).then_some(invocation.program.as_str());
    // A word such as `deploy` may be one of a hyphenated name, and a flag too.
    let flags = invocation.args.iter().filter(|arg| arg.role == Role::Flag && arg.text.starts_with("--"));
    let script = invocation.args.iter().find(|arg| arg.role == Role::Positional && arg.text.contains('/'));
    for text in name
        .into_iter()
        .chain(positionals.map(|arg| arg.text.as_str()))
        .chain(flags.map(|arg| arg.text.as_str()))
        .chain(script.map(|arg| arg.text.as_str()))
    {
        if text.len() > 256 || text.contains(' ') {
            continue;
        }
        // Of a path, its last part says what it does.
        let text = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
        let parts = words(text);
        let holds = |list: &[&str]| parts.iter().any(|word| list.contains(&word.as_str()));
        // `release-notes` releases nothing, `assembleRelease` builds; `build-and-deploy` does deploy.
        let soft = holds(&SOFTENS)
            && !(holds(&["build", "package", "assemble", "compile"])
                && holds(&["deploy", "publish", "push", "ship", "upload"]));
        facts.set(Fact::Destroys, holds(&DESTROYS) && !soft);
        facts.set(Fact::Releases, holds(&RELEASES) && !soft);
        facts.set(Fact::Alters, holds(&ALTERS) && !soft);
        facts.set(Fact::Looks, holds(&LOOKS));
    }
}

/// The words of a name, split at signs and at capitals, in lower case.
pub fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut last_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && last_lower) {
            if !word.is_empty() {
                found.push(std::mem::take(&mut word));
            }
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        last_lower = c.is_lowercase();
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
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
        "make" | "gmake" | "rsync" | "ansible" => short('n'),
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

/// Help is asked for where nothing but positionals stands beside the flag.
fn help(args: &[Arg]) -> bool {
    let asks =
        |arg: &Arg| matches!(arg.text.as_str(), "--help" | "-h" | "help" | "--version" | "-V" | "-version" | "-help");
    let first = args.first().is_some_and(|arg| {
        matches!(arg.text.as_str(), "help" | "--help" | "--version" | "-V" | "-version" | "version")
    });
    let flags = args.iter().filter(|arg| arg.role == Role::Flag).count();
    (first && flags <= 1)
        || (flags == 1 && args.last().is_some_and(|arg| asks(arg) && arg.role == Role::Flag && arg.text != "-V"))
}
