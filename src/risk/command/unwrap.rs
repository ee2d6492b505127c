//! Programs that run other programs: what they run is followed, in their own words.

use super::expand::Field;
use super::facts::Fact;
use super::invocation::Source;
use super::places::{contained, detached, remote, runner};
use super::programs;
use super::walk::{Around, Walker};
use super::wrappers::{elevate, embedded, environment, find, from_list, of_shell, transparent};

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

pub(super) fn inner(walker: &mut Walker<'_>, words: Vec<Field>, at: usize, around: &Around) -> Source {
    let rest: Vec<Field> = words.into_iter().skip(at).collect();
    if rest.is_empty() { Source::Nothing } else { walker.run(rest, around) }
}

pub(super) fn script(walker: &mut Walker<'_>, text: Option<&Field>, around: &Around) -> Source {
    let inner = Around { stdin: Source::Nothing, given: Source::Nothing, ..around.clone() };
    text.map_or(Source::Nothing, |text| walker.text(&text.text, &inner))
}

/// The first word after the flags and the values of those that take one.
pub(super) fn skip(words: &[Field], values: &[&str]) -> usize {
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
