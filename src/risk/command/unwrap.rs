//! Programs that run other programs: what they run is followed, in their own words.

use super::args::{self, Role};
use super::expand::Field;
use super::facts::Fact;
use super::flow;
use super::invocation::{Invocation, Source};
use super::programs;
use super::walk::{Around, Walker};

/// Programs whose output is meant for `eval`.
const HOOKS: [&str; 24] = [
    "ssh-agent",
    "direnv",
    "pyenv",
    "rbenv",
    "nodenv",
    "jenv",
    "brew",
    "starship",
    "zoxide",
    "minikube",
    "docker-machine",
    "opam",
    "conda",
    "fnm",
    "mise",
    "asdf",
    "dircolors",
    "register-python-argcomplete",
    "keychain",
    "luarocks",
    "fzf",
    "atuin",
    "goenv",
    "micromamba",
];

/// Follows a program: what it runs, and itself where it does something of its own.
pub fn follow(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
    match program {
        "command" | "builtin" | "exec" | "nohup" | "time" | "setsid" | "chronic" | "caffeinate" | "unbuffer"
        | "proxychains" | "proxychains4" | "xvfb-run" | "dbus-run-session" | "noglob" | "fakeroot" | "rlwrap"
        | "catchsegv" | "systemd-inhibit" => {
            if program == "command" && words.first().is_some_and(|word| matches!(word.text.as_str(), "-v" | "-V")) {
                return walker.emit("which", path, words, around);
            }
            transparent(walker, program, path, words, around, &["-a", "-p", "-s", "-n"])
        }
        "nice" | "ionice" | "stdbuf" | "chrt" | "taskset" | "cpulimit" | "strace" | "ltrace" | "perf" | "valgrind"
        | "catch" | "prlimit" | "choom" => {
            transparent(walker, program, path, words, around, &["-n", "-c", "-i", "-o", "-e", "-p", "-f", "-l"])
        }
        "timeout" | "gtimeout" | "flock" | "faketime" => {
            let at = skip(&words, &["-s", "--signal", "-k", "--kill-after", "-w", "-E"]);
            if program == "flock" && words.get(at + 1).is_some_and(|word| word.text == "-c") {
                return script(walker, words.get(at + 2), around);
            }
            inner(walker, words, at + 1, around)
        }
        "env" => environment(walker, path, words, around),
        "sudo" | "doas" | "pkexec" | "gosu" | "su-exec" | "run0" => elevate(walker, program, path, words, around),
        "su" | "runuser" => {
            let mut around = around.clone();
            around.facts.add(Fact::Privileged);
            let command = words.iter().position(|word| matches!(word.text.as_str(), "-c" | "--command"));
            match command.and_then(|at| words.get(at + 1)) {
                Some(text) => walker.text(&text.text.clone(), &around),
                None => walker.emit(program, path, words, &around),
            }
        }
        "busybox" | "toybox" => inner(walker, words, 0, around),
        "chroot" | "unshare" | "nsenter" | "setpriv" | "firejail" | "bwrap" => {
            walker.emit(program, path, words.clone(), around);
            let at = skip(&words, &["-t", "--target", "--bind", "--ro-bind"]);
            inner(walker, words, at + usize::from(program == "chroot"), around)
        }
        "watch" | "entr" => {
            let at = skip(&words, &["-n", "--interval"]);
            let text = words[at.min(words.len())..].iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
            walker.text(&text, around)
        }
        "xargs" | "parallel" | "gxargs" => from_list(walker, program, words, around),
        "find" | "gfind" | "fd" | "fdfind" => find(walker, program, path, words, around),
        "eval" => {
            let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
            if words.iter().any(|word| word.dynamic) {
                // `eval "$(direnv hook bash)"`: programs that are made to print what a shell shall run.
                let hook = walker.invocations.last().is_some_and(|last| HOOKS.contains(&last.program.as_str()));
                return if hook { Source::Local } else { walker.emit(program, path, words, around) };
            }
            walker.text(&text, around)
        }
        "trap" => match words.first() {
            Some(first) if !first.text.starts_with('-') && words.len() > 1 => {
                script(walker, Some(&first.clone()), around)
            }
            Some(_) | None => walker.emit(program, path, words, around),
        },
        "alias" => {
            for word in &words {
                if let Some((_, command)) = word.text.split_once('=') {
                    walker.text(command, around);
                }
            }
            walker.emit(program, path, words, around)
        }
        "cd" | "pushd" => {
            if let Some(to) = words.iter().find(|word| !word.text.starts_with('-')) {
                walker.change_directory(&to.text.clone());
            }
            walker.emit(program, path, words, around)
        }
        "export" | "declare" | "typeset" | "local" | "readonly" | "setenv" => {
            for word in &words {
                if let Some((name, value)) = word.text.split_once('=') {
                    walker.assign(name, &Field { text: value.to_owned(), dynamic: word.dynamic, quoted: word.quoted });
                }
            }
            walker.emit(program, path, words, around)
        }
        "ssh" | "mosh" | "plink" => remote(walker, program, path, words, around),
        "docker" | "podman" | "nerdctl" | "kubectl" | "oc" | "k" | "docker-compose" | "lxc" | "vagrant"
        | "multipass" | "crictl" | "heroku" | "fly" | "flyctl" | "gcloud" | "aws" | "railway" | "minikube" => {
            contained(walker, program, path, words, around)
        }
        "bundle" | "poetry" | "pipenv" | "uv" | "pdm" | "rye" | "hatch" | "conda" | "mamba" | "npx" | "pnpx"
        | "bunx" | "uvx" | "pnpm" | "yarn" | "npm" | "direnv" | "aws-vault" | "doppler" | "op" | "dotenv"
        | "infisical" | "chamber" | "teller" | "envchain" | "asdf" | "mise" | "rbenv" | "pyenv" | "nvm" | "volta"
        | "nix-shell" | "nix" | "devbox" | "mix" => runner(walker, program, path, words, around),
        "tmux" | "screen" | "script" | "at" | "batch" | "start-stop-daemon" | "systemd-run" | "daemonize" | "dtach"
        | "pm2" | "forever" => detached(walker, program, path, words, around),
        "git" => {
            for word in &words {
                if let Some((_, command)) = word.text.split_once("=!") {
                    walker.text(command, around);
                }
            }
            if let Some(at) = words.iter().position(|word| word.text == "bisect")
                && words.get(at + 1).is_some_and(|word| word.text == "run")
            {
                return inner(walker, words, at + 2, around);
            }
            if let Some(at) = words.iter().position(|word| word.text == "foreach")
                && words.iter().any(|word| word.text == "submodule")
            {
                let text = words[at + 1..]
                    .iter()
                    .filter(|word| word.text != "--recursive")
                    .map(|word| word.text.as_str())
                    .collect::<Vec<_>>()
                    .join(" ");
                return walker.text(&text, around);
            }
            if let Some(at) = words.iter().position(|word| matches!(word.text.as_str(), "--exec" | "-x"))
                && words.iter().any(|word| word.text == "rebase")
            {
                script(walker, words.get(at + 1), around);
            }
            walker.emit(program, path, words, around)
        }
        shell if programs::is_shell(shell) => of_shell(walker, program, path, words, around),
        "source" | "." => {
            let program = if program == "." { "source" } else { program };
            walker.emit(program, path, words, around)
        }
        "redis-cli" | "valkey-cli" | "keydb-cli" => {
            // Each line that it reads is a command.
            if let Source::Literal(text) = &around.stdin {
                for line in text.lines().take(64) {
                    let line = line.split_whitespace().map(|text| Field { text: text.to_owned(), ..Field::default() });
                    let words = words.iter().cloned().chain(line).collect();
                    walker.emit(program, path, words, around);
                }
            }
            walker.emit(program, path, words, around)
        }
        python
            if python.starts_with("python")
                && words.first().is_some_and(|word| word.text == "-m")
                && words.get(1).is_some_and(|module| walker.knows(&module.text)) =>
        {
            walker.emit(program, path, words.clone(), around);
            inner(walker, words, 1, around)
        }
        _ => {
            let source = walker.emit(program, path, words, around);
            embedded(walker, around);
            source
        }
    }
}

/// The shell text inside the last program's inline code: `os.system('…')`, `system("…")`.
fn embedded(walker: &mut Walker<'_>, around: &Around) {
    let Some(last) = walker.invocations.last() else { return };
    if !last.facts.has(Fact::CodeExecutes) {
        return;
    }
    let mut texts = Vec::new();
    for code in programs::inline_code(last) {
        for call in [
            "system(",
            "popen(",
            "execSync(",
            "exec(",
            "shell_exec(",
            "run(",
            "call(",
            "check_output(",
            "Popen(",
            "spawnSync(",
            "passthru(",
            "system ",
        ] {
            for (at, _) in code.match_indices(call).take(8) {
                let rest = code[at + call.len()..].trim_start_matches([' ', '[', '(', 'f', 'r']);
                let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else { continue };
                let inside = rest[1..].split(quote).next().unwrap_or_default();
                // A list of words is read as the words.
                let listed = code[at + call.len()..].trim_start().starts_with('[');
                let text = if listed {
                    let list = rest.split(']').next().unwrap_or_default();
                    list.split(',').map(|word| word.trim().trim_matches(['"', '\''])).collect::<Vec<_>>().join(" ")
                } else {
                    inside.to_owned()
                };
                texts.push(text);
            }
        }
    }
    for text in texts.into_iter().filter(|text| text.len() > 1) {
        walker.text(&text, &Around { stdin: Source::Nothing, given: Source::Nothing, ..around.clone() });
    }
}

fn of_shell(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let command = words.iter().position(|word| {
        word.text == "--command"
            || (word.text.starts_with('-')
                && !word.text.starts_with("--")
                && word.text.len() <= 8
                && word.text.ends_with('c'))
    });
    let before_script = words.iter().take_while(|word| word.text.starts_with('-')).count();
    if let Some(at) = command.filter(|at| *at <= before_script) {
        let Some(text) = words.get(at + 1) else { return walker.emit(program, path, words, around) };
        if !text.dynamic || text.text.contains(' ') {
            let around = Around { given: Source::Nothing, ..around.clone() };
            return walker.text(&text.text.clone(), &around);
        }
        return walker.emit(program, path, words, around);
    }
    let has_script = words.iter().any(|word| !word.text.starts_with('-') && word.text != "-s");
    if let (Source::Literal(text), false) = (&around.stdin, has_script) {
        let text = text.clone();
        let around = Around { stdin: Source::Nothing, given: Source::Nothing, ..around.clone() };
        return walker.text(&text, &around);
    }
    walker.emit(program, path, words, around)
}

fn environment(walker: &mut Walker<'_>, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let mut around = around.clone();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if matches!(word.text.as_str(), "-u" | "--unset" | "-C" | "--chdir") {
            at += 2;
        } else if matches!(word.text.as_str(), "-S" | "--split-string") {
            return script(walker, words.get(at + 1), &around);
        } else if word.text.starts_with('-') {
            at += 1;
        } else if let Some((name, value)) = word.text.split_once('=') {
            let _ = name;
            around.context.push(value.to_owned());
            at += 1;
        } else {
            break;
        }
    }
    if at >= words.len() {
        return walker.emit("env", path, words, &around);
    }
    inner(walker, words, at, &around)
}

fn elevate(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let mut around = around.clone();
    let mut at =
        skip(&words, &["-u", "-g", "-h", "-p", "-C", "-r", "-t", "-U", "-D", "--user", "--group", "--host", "--chdir"]);
    if matches!(program, "gosu" | "su-exec") {
        at += 1;
    }
    while words.get(at).is_some_and(|word| word.text.contains('=') && !word.text.starts_with('-')) {
        around.context.push(words[at].text.clone());
        at += 1;
    }
    // sudo itself too: that it is used at all is something to say.
    let asked = around.clone();
    around.facts.add(Fact::Privileged);
    walker.emit(program, path, words[..at.min(words.len())].to_vec(), &asked);
    if at >= words.len() {
        return Source::Local;
    }
    inner(walker, words, at, &around)
}

fn from_list(walker: &mut Walker<'_>, program: &str, words: Vec<Field>, around: &Around) -> Source {
    let at = skip(
        &words,
        &[
            "-n",
            "-P",
            "-I",
            "-L",
            "-d",
            "-a",
            "-s",
            "-E",
            "--max-args",
            "--max-procs",
            "--replace",
            "--delimiter",
            "-j",
            "--jobs",
            "--arg-file",
            "-i",
        ],
    );
    let mut rest: Vec<Field> = words.into_iter().skip(at).collect();
    if program == "parallel" {
        let list = rest.iter().position(|word| word.text.starts_with(":::"));
        rest.truncate(list.unwrap_or(rest.len()));
        if rest.len() == 1 && rest[0].text.contains(' ') {
            let text = rest[0].text.clone();
            return walker.text(&text, &Around { stdin: Source::Nothing, ..around.clone() });
        }
    }
    if rest.is_empty() {
        return match &around.stdin {
            // Without a program, the lines themselves are run.
            Source::Literal(text) if program == "parallel" => {
                walker.text(&text.clone(), &Around { stdin: Source::Nothing, ..around.clone() })
            }
            _ => Source::Local,
        };
    }
    rest.retain(|word| word.text != "{}");
    match &around.stdin {
        Source::Listing(items) if !items.is_empty() => {
            rest.extend(items.iter().take(64).map(|item| Field { text: item.clone(), dynamic: false, quoted: true }))
        }
        Source::Literal(text) => rest.extend(text.split_whitespace().take(64).map(|item| Field {
            text: item.to_owned(),
            dynamic: false,
            quoted: true,
        })),
        _ => rest.push(Field { text: "$ITEM".to_owned(), dynamic: true, quoted: true }),
    }
    let source = match &around.stdin {
        Source::Network | Source::Decoded | Source::Secret => around.stdin.clone(),
        _ => Source::Nothing,
    };
    // xargs sh takes its lines as scripts.
    walker.run(rest, &Around { stdin: source, ..around.clone() })
}

fn find(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let invocation = Invocation { args: args::sort(program, words.clone()), ..Invocation::default() };
    let selected: Vec<Field> =
        flow::found_by(&invocation).into_iter().map(|text| Field { text, dynamic: false, quoted: true }).collect();
    for (at, word) in words.iter().enumerate() {
        if matches!(
            word.text.as_str(),
            "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch"
        ) && (word.text.len() > 2 || program.starts_with("fd"))
        {
            let mut command: Vec<Field> =
                words[at + 1..].iter().take_while(|word| !matches!(word.text.as_str(), ";" | "+")).cloned().collect();
            let had = command.len();
            command.retain(|word| word.text != "{}");
            if command.len() < had || program.starts_with("fd") {
                command.extend(selected.iter().cloned());
            }
            walker.run(command, &Around { stdin: Source::Nothing, ..around.clone() });
        }
        if word.text == "-delete" {
            let mut command = vec![Field { text: "-r".to_owned(), ..Field::default() }];
            command.extend(selected.iter().cloned());
            walker.emit("rm", "rm", command, around);
        }
        if matches!(word.text.as_str(), "-fprint" | "-fls" | "-fprintf") {
            walker.emit("write_to", ">", words.get(at + 1).cloned().into_iter().collect(), around);
        }
    }
    walker.emit(program, path, words, around)
}

fn remote(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
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
fn contained(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
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
    let Some(exec) = texts.iter().position(|word| is_exec(&word)).filter(|at| *at <= 2) else {
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
fn runner(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
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

fn detached(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
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

fn transparent(
    walker: &mut Walker<'_>,
    program: &str,
    path: &str,
    words: Vec<Field>,
    around: &Around,
    values: &[&str],
) -> Source {
    let with_values =
        if matches!(program, "command" | "exec" | "builtin" | "nohup" | "setsid" | "time") { &[] } else { values };
    let at = skip(&words, with_values);
    if at >= words.len() {
        return walker.emit(program, path, words, around);
    }
    inner(walker, words, at, around)
}

fn inner(walker: &mut Walker<'_>, words: Vec<Field>, at: usize, around: &Around) -> Source {
    let rest: Vec<Field> = words.into_iter().skip(at).collect();
    if rest.is_empty() { Source::Nothing } else { walker.run(rest, around) }
}

fn script(walker: &mut Walker<'_>, text: Option<&Field>, around: &Around) -> Source {
    let inner = Around { stdin: Source::Nothing, given: Source::Nothing, ..around.clone() };
    text.map_or(Source::Nothing, |text| walker.text(&text.text, &inner))
}

/// The first word after the flags and the values of those that take one.
fn skip(words: &[Field], values: &[&str]) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if word.text == "--" {
            return at + 1;
        }
        if values.contains(&word.text.as_str()) {
            at += 2;
        } else if word.text.starts_with('-') && word.text.len() > 1 {
            at += 1;
        } else {
            break;
        }
    }
    at
}
