//! The words after a program: which are flags, which are values of flags, which stand for themselves.

use super::expand::Field;

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    pub text: String,
    pub dynamic: bool,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Flag,
    /// The value of the flag before it.
    Value,
    Positional,
    /// After a flag that nobody knows: its value, or a positional of its own.
    Either,
}

/// Sorts the words of a program by what they are.
pub fn sort(program: &str, words: Vec<Field>) -> Vec<Arg> {
    let mut args = Vec::with_capacity(words.len());
    let (mut only_positionals, mut after) = (false, None::<bool>);
    for Field { text, dynamic, .. } in words {
        let is_flag = !only_positionals && text.len() > 1 && text.starts_with('-') && !is_number(&text);
        let role = if is_flag {
            Role::Flag
        } else {
            match after {
                Some(true) => Role::Value,
                Some(false) => Role::Either,
                None => Role::Positional,
            }
        };
        after = None;
        if is_flag {
            if text == "--" {
                only_positionals = true;
            } else if !text.contains('=') {
                after = takes_value(program, &text);
            }
        }
        args.push(Arg { text, dynamic, role });
    }
    args
}

fn is_number(text: &str) -> bool {
    text[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// `Some(true)` where a flag is known to take the next word, `Some(false)` where nobody knows,
/// `None` where it is known to take none.
fn takes_value(program: &str, flag: &str) -> Option<bool> {
    if !flag.starts_with("--") && flag.len() > 2 && flag.bytes().skip(1).all(|b| b.is_ascii_alphabetic()) {
        let last = &flag[flag.len() - 1..];
        let with_value = value_flags(program).iter().any(|known| known.strip_prefix('-') == Some(last));
        if value_flags(program).contains(&flag) {
            return Some(true);
        }
        // A cluster such as -xzf: its last letter may take the next word.
        return if with_value { Some(true) } else { Some(false) };
    }
    if value_flags(program).contains(&flag) {
        return Some(true);
    }
    if PLAIN_FLAGS.contains(&flag) { None } else { Some(false) }
}

/// Flags that take no value in any program worth naming.
const PLAIN_FLAGS: [&str; 24] = [
    "--force",
    "--all",
    "--yes",
    "-y",
    "--recursive",
    "--hard",
    "--help",
    "--version",
    "--verbose",
    "--quiet",
    "-v",
    "--dry-run",
    "--no-pager",
    "--global",
    "--system",
    "--rm",
    "--detach",
    "--tags",
    "--prune",
    "--delete",
    "--mirror",
    "--purge",
    "--auto-approve",
    "-r",
];

/// Flags that take the next word, by program.
fn value_flags(program: &str) -> &'static [&'static str] {
    match program {
        "kubectl" | "oc" | "k" => &[
            "-n",
            "--namespace",
            "--context",
            "--kubeconfig",
            "-f",
            "--filename",
            "-o",
            "--output",
            "-l",
            "--selector",
            "-c",
            "--container",
            "--cluster",
            "--user",
            "-s",
            "--server",
            "--as",
            "--token",
            "--replicas",
            "-p",
            "--patch",
            "--type",
            "--image",
            "--from-literal",
            "--from-file",
            "--grace-period",
            "--timeout",
            "-k",
            "--field-selector",
            "--tail",
            "--since",
        ],
        "git" => &["-C", "-c", "--git-dir", "--work-tree", "--namespace", "-m", "-b", "-B", "-o", "-S", "-u"],
        "docker" | "podman" | "nerdctl" => &[
            "-H",
            "--host",
            "--context",
            "-c",
            "--config",
            "-l",
            "-f",
            "--file",
            "-t",
            "--tag",
            "-p",
            "-v",
            "--volume",
            "-e",
            "--env",
            "-w",
            "--workdir",
            "-u",
            "--user",
            "--name",
            "--network",
            "--entrypoint",
            "--mount",
            "--env-file",
            "--platform",
            "--build-arg",
            "--filter",
            "--format",
            "--profile",
            "--project-name",
        ],
        "docker-compose" => &["-f", "--file", "-p", "--project-name", "--profile", "--env-file", "-e", "-u", "-w"],
        "helm" => &[
            "-n",
            "--namespace",
            "--kube-context",
            "--kubeconfig",
            "-f",
            "--values",
            "--set",
            "--set-string",
            "--version",
            "--timeout",
            "-o",
        ],
        "aws" => &["--profile", "--region", "--output", "--endpoint-url", "--query", "--ca-bundle", "--color"],
        "gcloud" | "gsutil" | "bq" => &["--project", "--account", "--configuration", "--region", "--zone", "--format"],
        "az" => &["--subscription", "-g", "--resource-group", "-n", "--name", "-o", "--output", "--query"],
        "make" | "gmake" => &["-C", "-f", "-I", "-o", "-W", "--directory", "--file", "--makefile"],
        "npm" | "pnpm" | "yarn" => &["--prefix", "-w", "--workspace", "-C", "--cwd", "--dir", "--filter", "--registry"],
        "cargo" => &["--manifest-path", "-p", "--package", "--target", "--features", "--bin", "-Z", "--config", "-F"],
        "psql" => &[
            "-h",
            "-p",
            "-U",
            "-d",
            "-c",
            "-f",
            "-v",
            "-o",
            "--host",
            "--port",
            "--username",
            "--dbname",
            "--command",
            "--file",
        ],
        "mysql" | "mariadb" | "mysqladmin" => {
            &["-h", "-P", "-u", "-D", "-e", "--host", "--port", "--user", "--database", "--execute"]
        }
        "redis-cli" => &["-h", "-p", "-a", "-n", "-u", "--user", "--pass"],
        "ssh" => &["-i", "-p", "-l", "-o", "-J", "-F", "-L", "-R", "-D", "-c", "-E", "-b", "-W", "-w"],
        "scp" | "sftp" => &["-i", "-P", "-o", "-J", "-F", "-l", "-c"],
        "rsync" => &["-e", "--rsh", "--exclude", "--include", "--rsync-path", "--files-from", "--bwlimit"],
        "curl" => &[
            "-o",
            "-X",
            "-d",
            "-H",
            "-u",
            "-F",
            "-T",
            "-A",
            "-e",
            "-b",
            "-c",
            "-K",
            "-m",
            "-x",
            "-w",
            "--data",
            "--data-binary",
            "--data-raw",
            "--data-urlencode",
            "--header",
            "--request",
            "--output",
            "--user",
            "--form",
            "--upload-file",
            "--url",
            "--cookie",
            "--max-time",
            "--connect-timeout",
            "--retry",
            "--cacert",
            "--cert",
            "--key",
            "--proxy",
            "--json",
            "--write-out",
            "--user-agent",
        ],
        "wget" => {
            &["-O", "-o", "-P", "--post-file", "--post-data", "--header", "--body-file", "--method", "-t", "-T", "-U"]
        }
        "find" | "gfind" => &[],
        "terraform" | "tofu" | "terragrunt" => &["-target", "-var", "-var-file", "-state", "-out"],
        "ansible" | "ansible-playbook" => &[
            "-i",
            "-l",
            "-e",
            "-u",
            "-m",
            "-a",
            "-t",
            "--limit",
            "--inventory",
            "--extra-vars",
            "--tags",
            "--user",
            "-f",
        ],
        "heroku" => &["-a", "--app", "-r", "--remote"],
        "systemctl" | "service" => &["-H", "-M", "-t", "-p", "--host"],
        "kill" | "pkill" | "killall" => &["-s", "-u", "-n", "--signal"],
        "find_" => &[],
        "tar" | "bsdtar" => &["-f", "-C", "-T", "-X", "--directory", "--file", "--exclude"],
        "pip" | "pip3" | "uv" | "pipx" => &[
            "-r",
            "-c",
            "-i",
            "--index-url",
            "--extra-index-url",
            "-t",
            "--target",
            "--python",
            "-e",
            "--requirement",
            "-f",
            "--find-links",
        ],
        "gh" | "glab" => {
            &["-R", "--repo", "-b", "--body", "-t", "--title", "-B", "--base", "-H", "--head", "-e", "--env"]
        }
        "vault" => &["-address", "-namespace", "-format", "-field", "-mount"],
        "flyctl" | "fly" => &["-a", "--app", "-c", "--config", "-r", "--region"],
        "nc" | "ncat" | "netcat" => &["-p", "-s", "-w", "-e", "-c", "-q", "-X", "-x", "--exec", "--sh-exec"],
        "openssl" => &["-in", "-out", "-k", "-pass", "-keyout"],
        "grep" | "rg" | "egrep" | "fgrep" | "ag" | "ack" => {
            &["-e", "-f", "-A", "-B", "-C", "-m", "-g", "--include", "--exclude", "--glob", "-t"]
        }
        "head" | "tail" => &["-n", "-c", "--lines", "--bytes"],
        "crontab" => &["-u"],
        "useradd" | "usermod" => &["-G", "-g", "-s", "-d", "-u", "-c", "-p"],
        _ => &[],
    }
}

/// Whether a flag of these alternatives is there; a short one may stand in a cluster.
pub fn has_flag(args: &[Arg], alternatives: &[String]) -> bool {
    args.iter().enumerate().any(|(at, arg)| {
        arg.role == Role::Flag && alternatives.iter().any(|wanted| flag_matches(args, at, &arg.text, wanted))
    })
}

fn flag_matches(args: &[Arg], at: usize, text: &str, wanted: &str) -> bool {
    if let Some((name, value)) = wanted.split_once('=') {
        // A value may follow after `=`, as the next word, or right after a short flag.
        let given = match text.split_once('=') {
            Some((flag, given)) if flag == name => Some(given),
            Some(_) | None => None,
        };
        let next = || {
            let next = args.get(at + 1).filter(|next| matches!(next.role, Role::Value | Role::Either));
            next.filter(|_| text == name).map(|next| next.text.as_str())
        };
        let glued = || text.strip_prefix(name).filter(|_| name.len() == 2 && !text.starts_with("--"));
        return given.or_else(next).or_else(glued).is_some_and(|given| super::glob::matches(value, given));
    }
    let (flag, value) = text.split_once('=').unwrap_or((text, ""));
    if flag == wanted {
        return !matches!(value, "false" | "no" | "none" | "off");
    }
    // Terraform, find and Java take one dash or two.
    if wanted.len() > 2 && !wanted.starts_with("--") {
        return flag.strip_prefix('-') == Some(wanted);
    }
    let letter = wanted.strip_prefix('-').filter(|rest| rest.chars().count() == 1);
    letter.is_some_and(|letter| {
        !flag.starts_with("--")
            && flag.len() <= 8
            && flag.bytes().skip(1).all(|b| b.is_ascii_alphanumeric())
            && flag.contains(letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(program: &str, line: &str) -> Vec<Arg> {
        let field = |text: &str| Field { text: text.to_owned(), dynamic: false, quoted: false };
        sort(program, line.split(' ').map(field).collect())
    }

    fn has(program: &str, line: &str, flag: &str) -> bool {
        has_flag(&args(program, line), &[flag.to_owned()])
    }

    #[test]
    fn flags_are_found_in_each_spelling() {
        assert!(has("rm", "-rf /", "-r") && has("rm", "-rf /", "-f") && !has("rm", "-- -rf", "-r"));
        assert!(has("terraform", "apply -auto-approve", "-auto-approve"));
        assert!(has("terraform", "apply --auto-approve", "-auto-approve"));
        assert!(has("kubectl", "scale --replicas=0 deploy/x", "--replicas=0"));
        assert!(has("kubectl", "scale --replicas 0 deploy/x", "--replicas=0"));
        assert!(!has("kubectl", "scale --replicas=3 deploy/x", "--replicas=0"));
        assert!(!has("kubectl", "apply --dry-run=none", "--dry-run"));
        assert!(has("kubectl", "apply --dry-run=server", "--dry-run"));
    }

    #[test]
    fn a_value_is_no_positional() {
        let roles = |program: &str, line: &str| args(program, line).into_iter().map(|arg| arg.role).collect::<Vec<_>>();
        assert_eq!(roles("kubectl", "-n prod delete"), [Role::Flag, Role::Value, Role::Positional]);
        assert_eq!(roles("git", "--strange push"), [Role::Flag, Role::Either]);
        assert_eq!(roles("git", "-- -x"), [Role::Flag, Role::Positional]);
    }
}
