//! What the words of a program's name and of its first arguments say is done.

use super::args::Role;
use super::facts::{Fact, Facts};
use super::invocation::Invocation;

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
pub(super) fn verbs(invocation: &Invocation, known: bool, facts: &mut Facts) {
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
        // Whoever rotates or sets credentials takes the old ones away.
        let credentials =
            holds(&["secret", "secrets", "credential", "credentials", "password", "passwords", "keys", "certs"]);
        facts.set(Fact::Destroys, (holds(&DESTROYS) || (credentials && holds(&ALTERS))) && !soft);
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
        if (!c.is_alphanumeric() || (c.is_uppercase() && last_lower)) && !word.is_empty() {
            found.push(std::mem::take(&mut word));
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
