//! What flows from one program to the next.

use super::args::Role;
use super::facts::Fact;
use super::invocation::{Invocation, Source};
use super::programs;

/// What a program writes, given what it reads.
pub fn output(invocation: &Invocation, given: &Source) -> Source {
    let args = &invocation.args;
    let has = |flags: &[&str]| args.iter().any(|arg| flags.contains(&arg.text.as_str()));
    let first = invocation.positionals().next().map_or("", |arg| arg.text.as_str());
    let remote = !invocation.facts.has(Fact::Loopback) || invocation.facts.has(Fact::Remote);
    let reads_secret = invocation.facts.has(Fact::Secret);
    let passed_on = || match (&invocation.stdin, given) {
        (Source::Nothing | Source::Local, Source::Network | Source::Secret | Source::Decoded) => given.clone(),
        (Source::Literal(_) | Source::Listing(_) | Source::Nothing, _) => Source::Local,
        (stdin, _) => stdin.clone(),
    };
    match invocation.program.as_str() {
        "curl" | "wget" | "http" | "https" | "xh" | "aria2c" | "fetch" | "lynx" | "w3m" | "links" | "nc" | "ncat"
        | "netcat" | "socat" | "ftp" | "lwp-request" | "telnet" | "iwr" | "invoke-webrequest" => {
            if remote {
                Source::Network
            } else {
                Source::Local
            }
        }
        "ssh" => Source::Network,
        "openssl" if has(&["s_client"]) => Source::Network,
        "aws" | "gsutil" | "gcloud" | "az" if has(&["cp", "cat"]) => Source::Network,
        "aws"
            if has(&[
                "get-secret-value",
                "get-parameter",
                "get-parameters-by-path",
                "decrypt",
                "export-credentials",
                "get-session-token",
                "get-login-password",
            ]) =>
        {
            Source::Secret
        }
        "gcloud" if has(&["secrets", "print-access-token"]) => Source::Secret,
        "az" if has(&["secret", "get-access-token"]) => Source::Secret,
        "vault" if has(&["read", "kv", "get", "print"]) => Source::Secret,
        "kubectl" | "oc"
            if args.iter().any(|arg| {
                matches!(arg.text.as_str(), "secret" | "secrets")
                    || arg.text.starts_with("secret/")
                    || arg.text.starts_with("secrets/")
            }) =>
        {
            Source::Secret
        }
        "op" | "pass" | "gopass" | "bw" | "lpass" | "security" | "secret-tool" | "keyring" | "doppler" | "sops"
        | "gpg" | "chamber" => match invocation.program.as_str() {
            "gpg" if has(&["-d", "--decrypt"]) => Source::Decoded,
            "gpg" if has(&["--export-secret-keys", "--export-secret-key"]) => Source::Secret,
            "gpg" => passed_on(),
            _ => Source::Secret,
        },
        "env" | "printenv" | "history" => Source::Secret,
        "set" | "export" | "declare" if args.iter().all(|arg| arg.role == Role::Flag) => Source::Secret,
        "echo" | "printf" => {
            if args.iter().any(|arg| arg.text.starts_with("$(…)"))
                && args.iter().any(|arg| arg.dynamic)
                && matches!(given, Source::Secret)
            {
                return Source::Secret;
            }
            let secret = args.iter().any(|arg| {
                arg.dynamic
                    && arg.text.starts_with('$')
                    && ["TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL"].iter().any(|part| arg.text.contains(part))
            });
            if secret {
                return Source::Secret;
            }
            let words: Vec<&str> =
                args.iter().filter(|arg| arg.role != Role::Flag).map(|arg| arg.text.as_str()).collect();
            let text = words.join(" ");
            // printf and echo -e decode what they are given.
            if text.contains("\\x") || text.contains("\\0") {
                Source::Decoded
            } else {
                Source::Literal(text.replace("\\n", "\n").replace("%s", ""))
            }
        }
        "base64" | "base32" | "basenc" if has(&["-d", "-D", "--decode", "-di", "-id"]) => decoded(&invocation.stdin),
        "xxd" if args.iter().any(|arg| arg.role == Role::Flag && arg.text.contains('r')) => decoded(&invocation.stdin),
        "openssl" if has(&["-d", "enc", "base64"]) => {
            if reads_secret {
                Source::Secret
            } else {
                decoded(&invocation.stdin)
            }
        }
        "rev" | "tr" | "uudecode" | "zcat" | "gunzip" | "gzip" | "bunzip2" | "xz" | "unxz" | "bzcat" | "hexdump"
        | "od" | "zstd" | "lz4" | "brotli" => match &invocation.stdin {
            Source::Secret | Source::Network | Source::Dump => invocation.stdin.clone(),
            Source::Literal(_) | Source::Decoded => Source::Decoded,
            _ if reads_secret => Source::Secret,
            _ => Source::Local,
        },
        "pg_dump" | "pg_dumpall" | "mysqldump" | "mongodump" | "mongoexport" | "sqlite3"
            if first.is_empty() || invocation.program.contains("dump") || invocation.program.contains("export") =>
        {
            Source::Dump
        }
        "tar" | "zip" | "7z" | "cat" | "tac" | "head" | "tail" | "less" | "more" | "nl" | "strings" | "sed" | "awk"
        | "gawk" | "grep" | "egrep" | "fgrep" | "rg" | "cut" | "sort" | "uniq" | "jq" | "yq" | "tee" | "base64"
        | "base32" | "xxd" | "paste" | "fold" | "column" | "pv" | "bat" | "batcat" | "dd" | "split" | "tojson"
        | "gron" => {
            if reads_secret {
                return Source::Secret;
            }
            let literal =
                matches!(invocation.program.as_str(), "cat" | "tee" | "head" | "tail" | "pv" | "sed" | "fold")
                    && args.iter().all(|arg| arg.role == Role::Flag || invocation.program == "tee");
            match (&invocation.stdin, literal) {
                (Source::Literal(text), true) => Source::Literal(text.clone()),
                (Source::Listing(items), _)
                    if matches!(
                        invocation.program.as_str(),
                        "grep" | "egrep" | "sort" | "uniq" | "head" | "tail" | "cat" | "tee"
                    ) =>
                {
                    Source::Listing(items.clone())
                }
                _ => passed_on(),
            }
        }
        "find" | "gfind" | "fd" | "fdfind" => Source::Listing(found_by(invocation)),
        "ls" => Source::Listing(invocation.positionals().map(|arg| arg.text.clone()).collect()),
        program if programs::is_interpreter(program) => {
            if invocation.facts.has(Fact::CodeConnects) {
                Source::Network
            } else if invocation.facts.has(Fact::CodeDecodes) {
                Source::Decoded
            } else if invocation.facts.has(Fact::CodeSecrets) {
                Source::Secret
            } else {
                passed_on()
            }
        }
        _ => Source::Local,
    }
}

fn decoded(stdin: &Source) -> Source {
    match stdin {
        Source::Network => Source::Network,
        Source::Secret => Source::Secret,
        _ => Source::Decoded,
    }
}

/// What `find` selects, as paths that stand for all of them: each start with each name pattern.
pub fn found_by(invocation: &Invocation) -> Vec<String> {
    let mut starts = Vec::new();
    let mut names = Vec::new();
    let mut previous = "";
    let mut before_tests = true;
    for arg in &invocation.args {
        let text = arg.text.as_str();
        if matches!(previous, "-name" | "-iname" | "-path" | "-wholename" | "-ipath") {
            names.push(text.trim_start_matches("*/").to_owned());
        } else if text.starts_with('-') || matches!(text, "(" | "!" | ")") {
            before_tests = false;
        } else if before_tests {
            starts.push(text.to_owned());
        }
        previous = text;
    }
    if starts.is_empty() {
        starts.push(".".to_owned());
    }
    if names.is_empty() {
        return starts;
    }
    starts
        .iter()
        .flat_map(|start| names.iter().map(move |name| format!("{}/{name}", start.trim_end_matches('/'))))
        .collect()
}
