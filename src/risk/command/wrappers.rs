//! Programs that run others on this machine: shells, `env`, `sudo`, `xargs`, `find`.

use super::args;
use super::expand::Field;
use super::facts::Fact;
use super::flow;
use super::invocation::{Invocation, Source};
use super::programs;
use super::unwrap::{inner, script, skip};
use super::walk::{Around, Walker};

/// The shell text inside the last program's inline code: `os.system('…')`, `system("…")`.
pub(super) fn embedded(walker: &mut Walker<'_>, around: &Around) {
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

pub(super) fn of_shell(
    walker: &mut Walker<'_>,
    program: &str,
    path: &str,
    words: Vec<Field>,
    around: &Around,
) -> Source {
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

pub(super) fn environment(walker: &mut Walker<'_>, path: &str, words: Vec<Field>, around: &Around) -> Source {
    let mut around = around.clone();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if matches!(word.text.as_str(), "-u" | "--unset" | "-C" | "--chdir") {
            at += 2;
        } else if matches!(word.text.as_str(), "-S" | "--split-string") {
            return script(walker, words.get(at + 1), &around);
        } else if word.text.starts_with('-') {
            at += 1;
        } else if let Some((_, value)) = word.text.split_once('=') {
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

pub(super) fn elevate(
    walker: &mut Walker<'_>,
    program: &str,
    path: &str,
    words: Vec<Field>,
    around: &Around,
) -> Source {
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

pub(super) fn from_list(walker: &mut Walker<'_>, program: &str, words: Vec<Field>, around: &Around) -> Source {
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

pub(super) fn find(walker: &mut Walker<'_>, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
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

pub(super) fn transparent(
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
