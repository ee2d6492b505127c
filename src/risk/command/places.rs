//! Programs that run others elsewhere: on another machine, in a container, in a project's
//! environment, later.

use super::args::{self, Role};
use super::expand::Field;
use super::facts::Fact;
use super::invocation::Source;
use super::unwrap::{inner, script, skip};
use super::walk::{Around, Walker};

pub(super) fn remote(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let at = skip(
        &words,
        &[
            "-i", "-p", "-l", "-o", "-J", "-F", "-L", "-R", "-D", "-c", "-E", "-b", "-W", "-w", "-P", "-m", "-e", "-S",
            "-B", "-I", "-O", "-Q",
        ],
    );
    let source = walker.emit(program, path, words[..(at + 1).min(words.len())].to_vec(), around);
    let mut around = around.clone();
    around.facts.add(Fact::Elsewhere);
    around.context.extend(words.get(at).map(|host| host.text.clone()));
    let text =
        words.get(at + 1..).unwrap_or_default().iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    if text.trim().is_empty() {
        if let Source::Literal(script) = around.stdin.clone() {
            around.stdin = Source::Nothing;
            walker.text(&script, &around);
        }
        return source;
    }
    walker.text(&text, &around);
    source
}

/// `docker exec`, `kubectl exec` and their kind: the words after the container are a command.
pub(super) fn contained(
    walker: &mut Walker<'_>,
    program: &str,
    path: &str,
    words: Vec<Field>,
    around: &Around,
) -> Source {
    let source = walker.emit(program, path, words.clone(), around);
    let sorted = args::sort(program, words.clone());
    let positions: Vec<usize> = sorted
        .iter()
        .enumerate()
        .filter(|(_, arg)| matches!(arg.role, Role::Positional | Role::Either))
        .map(|(at, _)| at)
        .collect();
    let texts: Vec<&str> = positions.iter().map(|at| sorted[*at].text.as_str()).collect();
    let after_dashes = words.iter().position(|word| word.text == "--").map(|at| at + 1);
    let is_exec = |word: &&str| matches!(*word, "exec" | "run" | "ssh" | "console" | "debug");
    let Some(exec) = texts.iter().position(is_exec).filter(|at| *at <= 2) else {
        // kubectl config use-context prod, and the like.
        if texts.contains(&"use-context")
            || texts.contains(&"set-context")
            || texts.contains(&"configurations")
            || texts.contains(&"get-credentials")
            || texts.contains(&"update-kubeconfig")
        {
            let words: Vec<String> = texts.iter().skip(1).map(|text| (*text).to_owned()).collect();
            walker.act_on(words);
        }
        return source;
    };
    let mut inside = around.clone();
    inside.facts.add(Fact::Elsewhere);
    inside.context.extend(
        words.iter().take(positions[exec] + 6).filter(|word| !word.text.contains(' ')).map(|word| word.text.clone()),
    );
    if let Some(command) = words
        .iter()
        .position(|word| matches!(word.text.as_str(), "-c" | "-C" | "--command"))
        .filter(|_| !matches!(program, "docker" | "podman" | "kubectl" | "oc" | "docker-compose"))
    {
        script(walker, words.get(command + 1), &inside);
        return source;
    }
    let start = match (program, after_dashes) {
        (_, Some(at)) => at,
        ("kubectl" | "oc" | "k", None) => return source,
        ("docker" | "podman" | "nerdctl" | "docker-compose" | "crictl" | "lxc", None) => {
            container_command(&words, positions[exec])
        }
        ("heroku" | "railway", None) => positions.get(exec + 1).copied().unwrap_or(words.len()),
        (_, None) => return source,
    };
    let command: Vec<Field> = words.into_iter().skip(start).collect();
    if command.len() == 1 && command[0].text.contains(' ') {
        walker.text(&command[0].text.clone(), &inside);
    } else if !command.is_empty() {
        walker.run(command, &inside);
    }
    source
}

/// Where the command of `docker exec` or `docker run` begins: after the flags and the container or image.
fn container_command(words: &[Field], exec: usize) -> usize {
    const VALUES: [&str; 30] = [
        "-e",
        "--env",
        "-w",
        "--workdir",
        "-u",
        "--user",
        "-v",
        "--volume",
        "-p",
        "--publish",
        "--name",
        "--network",
        "--entrypoint",
        "--mount",
        "--env-file",
        "--platform",
        "-h",
        "--hostname",
        "-l",
        "--label",
        "--cpus",
        "-m",
        "--memory",
        "--add-host",
        "--device",
        "--cap-add",
        "--security-opt",
        "--pid",
        "--restart",
        "--index",
    ];
    let mut at = exec + 1;
    while let Some(word) = words.get(at) {
        if VALUES.contains(&word.text.as_str()) {
            at += 2;
        } else if word.text.starts_with('-') {
            at += 1;
        } else {
            return at + 1;
        }
    }
    words.len()
}

/// Runners of a project's own tools: `poetry run X`, `npx X`, `bundle exec X`.
pub(super) fn runner(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let source = walker.emit(program, path, words.clone(), around);
    let at = skip(
        &words,
        &[
            "-C",
            "--prefix",
            "--python",
            "-p",
            "--package",
            "--with",
            "-w",
            "--project",
            "--config",
            "-n",
            "--filter",
            "-e",
            "-f",
            "--env-file",
            "--directory",
        ],
    );
    if let Some(text) = words
        .iter()
        .position(|word| matches!(word.text.as_str(), "--run" | "--command" | "-c"))
        .and_then(|at| words.get(at + 1))
        && matches!(program, "nix-shell" | "nix" | "npx" | "devbox")
    {
        script(walker, Some(&text.clone()), around);
        return source;
    }
    let first = words.get(at).map_or("", |word| word.text.as_str());
    let start = match (program, first) {
        ("npx" | "pnpx" | "bunx" | "uvx", _) => at,
        ("direnv", "exec") => at + 2,
        ("mix", "run") | ("mix", _) => return source,
        ("npm", "exec" | "x") | ("pnpm", "exec" | "dlx") | ("yarn", "exec" | "dlx" | "run") => at + 1,
        ("npm" | "pnpm", _) => return source,
        ("yarn", _) => return source,
        (_, "run" | "exec") => {
            let dashes = words.iter().position(|word| word.text == "--");
            match dashes {
                Some(dashes) if dashes > at => dashes + 1,
                Some(_) | None => at + 1,
            }
        }
        _ => return source,
    };
    let mut start = start;
    while words.get(start).is_some_and(|word| word.text.starts_with('-')) {
        start +=
            1 + usize::from(matches!(words[start].text.as_str(), "-p" | "--package" | "--with" | "--python" | "-n"));
    }
    let mut around = around.clone();
    around
        .context
        .extend(words.iter().take(start).filter(|word| !word.text.contains(' ')).map(|word| word.text.clone()));
    let rest: Vec<Field> = words
        .into_iter()
        .skip(start)
        .map(|mut word| {
            if let Some((name, _)) =
                word.text.split_once('@').filter(|(name, _)| !name.is_empty() && !word.text.contains('/'))
            {
                word.text = name.to_owned();
            }
            word
        })
        .collect();
    if !rest.is_empty() {
        walker.run(rest, &around);
    }
    source
}

pub(super) fn detached(
    walker: &mut Walker<'_>,
    program: &str,
    path: &str,
    words: Vec<Field>,
    around: &Around,
) -> Source {
    let source = walker.emit(program, path, words.clone(), around);
    if let ("at" | "batch", Source::Literal(text)) = (program, &around.stdin) {
        let text = text.clone();
        walker.text(&text, &Around { stdin: Source::Nothing, ..around.clone() });
    }
    for word in words.iter().filter(|word| word.text.contains(' ')) {
        walker.text(&word.text, &Around { stdin: Source::Nothing, ..around.clone() });
    }
    if program == "systemd-run" {
        let at = skip(&words, &["-p", "--property", "--unit", "-u", "--on-calendar", "--on-active"]);
        inner(walker, words, at, around);
    } else if program == "screen"
        && let Some(at) = words.iter().position(|word| word.text.starts_with("-dm") || word.text == "-m")
    {
        let at = at + 1 + 2 * usize::from(words.get(at + 1).is_some_and(|word| word.text == "-S"));
        inner(walker, words, at, around);
    }
    source
}
