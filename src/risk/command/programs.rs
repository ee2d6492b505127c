//! What kinds of programs there are, where rules alone would have to say it again and again.

use super::args::Role;
use super::invocation::{Invocation, Source};

/// Programs that evaluate shell text.
pub const SHELLS: [&str; 12] =
    ["sh", "bash", "zsh", "dash", "ksh", "fish", "ash", "rbash", "mksh", "csh", "tcsh", "yash"];

pub fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program)
}

/// Programs that run code of a language, shells aside.
pub fn is_interpreter(program: &str) -> bool {
    let stem = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    matches!(
        stem,
        "python"
            | "pypy"
            | "perl"
            | "ruby"
            | "node"
            | "nodejs"
            | "deno"
            | "bun"
            | "php"
            | "lua"
            | "luajit"
            | "tclsh"
            | "rscript"
            | "osascript"
            | "pwsh"
            | "powershell"
            | "awk"
            | "gawk"
            | "mawk"
            | "nawk"
            | "groovy"
            | "scala"
            | "julia"
            | "elixir"
            | "erl"
            | "irb"
            | "ghci"
            | "jshell"
            | "ts-node"
            | "tsx"
            | "jjs"
            | "expect"
            | "gdb"
            | "emacs"
            | "vim"
            | "vi"
            | "nvim"
            | "ex"
    )
}

/// Clients of databases: their words may be statements.
pub fn is_database(program: &str) -> bool {
    matches!(
        program,
        "psql"
            | "mysql"
            | "mariadb"
            | "sqlite3"
            | "sqlite"
            | "sqlcmd"
            | "cqlsh"
            | "clickhouse-client"
            | "clickhouse"
            | "mongosh"
            | "mongo"
            | "duckdb"
            | "bq"
            | "snowsql"
            | "cockroach"
            | "influx"
            | "sqlplus"
            | "osql"
            | "usql"
            | "pgcli"
            | "mycli"
            | "litecli"
            | "trino"
            | "presto"
            | "hive"
            | "beeline"
            | "impala-shell"
            | "spark-sql"
            | "vsql"
            | "isql"
            | "bsqldb"
            | "ysqlsh"
            | "ycqlsh"
            | "rqlite"
            | "turso"
            | "litestream"
            | "db2"
            | "sqlcl"
            | "cypher-shell"
            | "arangosh"
            | "nodetool"
            | "wrangler"
            | "supabase"
            | "prisma"
            | "dbt"
            | "athena"
            | "aws"
            | "gcloud"
            | "az"
            | "fly"
            | "flyctl"
            | "heroku"
            | "docker"
            | "rails"
            | "django-admin"
    )
}

/// Programs that install packages.
pub fn is_installer(program: &str) -> bool {
    let stem = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    matches!(
        stem,
        "pip"
            | "pipx"
            | "uv"
            | "uvx"
            | "poetry"
            | "pipenv"
            | "conda"
            | "mamba"
            | "npm"
            | "npx"
            | "pnpm"
            | "yarn"
            | "bun"
            | "bunx"
            | "cargo"
            | "gem"
            | "go"
            | "composer"
            | "easy_install"
            | "pdm"
            | "bundle"
            | "rye"
            | "hatch"
    )
}

/// Code that stands in the command itself.
pub fn inline_code(invocation: &Invocation) -> Vec<String> {
    let program = invocation.program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let mut found = Vec::new();
    let flags: &[&str] = match program {
        "python" | "pypy" => &["-c"],
        "perl" => &["-e", "-E", "-ne", "-pe", "-le", "-i", "-lne"],
        "ruby" => &["-e"],
        "node" | "nodejs" | "bun" | "deno" | "tsx" | "ts-node" => &["-e", "-p", "--eval", "--print", "eval", "-pe"],
        "php" => &["-r"],
        "lua" | "luajit" | "rscript" | "osascript" | "groovy" | "scala" | "julia" | "elixir" | "jshell" => &["-e"],
        "pwsh" | "powershell" => &["-c", "-command", "-Command", "-enc", "-EncodedCommand", "-e"],
        "vim" | "vi" | "nvim" | "ex" | "emacs" | "gdb" => &["-c", "--eval", "-ex", "-batch", "--cmd", "+"],
        _ => &[],
    };
    let mut previous = "";
    for arg in &invocation.args {
        let cluster = previous.starts_with('-') && !previous.starts_with("--") && previous.len() <= 6;
        let last = previous.chars().last();
        let named =
            flags.contains(&previous) || (cluster && flags.iter().any(|f| f.len() == 2 && f.chars().last() == last));
        if named && !previous.is_empty() {
            found.push(arg.text.clone());
        } else if let Some((flag, value)) = arg.text.split_once('=')
            && flags.contains(&flag)
        {
            found.push(value.to_owned());
        } else if arg.text.starts_with('+') && matches!(program, "vim" | "vi" | "nvim" | "ex") {
            found.push(arg.text.clone());
        } else if flags.iter().any(|flag| {
            flag.len() == 2
                && arg.role == Role::Flag
                && !arg.text.starts_with("--")
                && arg.text.len() > 6
                && arg.text.starts_with(flag)
        }) {
            found.push(arg.text[2..].to_owned());
        }
        previous =
            if arg.role == Role::Flag || previous.is_empty() && arg.text == "eval" { arg.text.as_str() } else { "" };
    }
    if matches!(program, "awk" | "gawk" | "mawk" | "nawk") {
        found.extend(invocation.positionals().next().map(|arg| arg.text.clone()));
    }
    let has_script = invocation.positionals().any(|arg| arg.text != "-");
    if let Source::Literal(text) = &invocation.stdin
        && (!has_script || invocation.args.iter().any(|arg| arg.text == "-"))
        && found.is_empty()
    {
        found.push(text.clone());
    }
    found
}

/// Variables that name a program a person chose.
pub fn is_usual_variable(name: &str) -> bool {
    let name = name.trim_start_matches('$');
    matches!(
        name,
        "EDITOR"
            | "VISUAL"
            | "PAGER"
            | "PYTHON"
            | "PYTHON3"
            | "PIP"
            | "NODE"
            | "NPM"
            | "CC"
            | "CXX"
            | "CARGO"
            | "GO"
            | "JAVA"
            | "MAKE"
            | "BROWSER"
            | "GIT"
            | "RUBY"
            | "PERL"
            | "RUSTC"
            | "MVN"
            | "GRADLE"
            | "CMAKE"
            | "VENV"
            | "VIRTUAL_ENV"
            | "JAVA_HOME"
            | "GOPATH"
            | "GOBIN"
            | "CARGO_HOME"
            | "BIN"
            | "PYTEST"
    )
}
