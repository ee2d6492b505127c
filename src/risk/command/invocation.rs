//! One program that a command line runs, with everything that is known of it.

use super::args::{Arg, Role};
use super::facts::Facts;

/// What a program reads, or what it gives to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Nothing,
    /// A text that stands in the command.
    Literal(String),
    /// Local files and the output of local programs.
    Local,
    /// What came from another machine.
    Network,
    /// What was decoded, decompressed or decrypted.
    Decoded,
    /// Credentials, or the whole environment.
    Secret,
    /// The content of a database or of a disk.
    Dump,
    /// Names of files or of other things, as far as they are known.
    Listing(Vec<String>),
    /// A variable or a program that nobody knows.
    Unknown,
}

/// A program and its words.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// The file name in lower case, without directories.
    pub program: String,
    /// As it was written.
    pub path: String,
    pub args: Vec<Arg>,
    pub stdin: Source,
    /// Words around it that say where it acts: hosts, contexts, variables set for it.
    pub context: Vec<String>,
    /// The directory it runs in, relative to the workspace unless absolute.
    pub cwd: String,
    pub facts: Facts,
}

impl Invocation {
    /// Words that stand for themselves, in order.
    pub fn positionals(&self) -> impl Iterator<Item = &Arg> {
        self.args.iter().filter(|arg| matches!(arg.role, Role::Positional | Role::Either))
    }

    /// As a person would write it, shortened.
    pub fn shown(&self, chars_max: usize) -> String {
        let mut text = self.program.clone();
        for arg in &self.args {
            if text.chars().count() > chars_max {
                break;
            }
            text.push(' ');
            text.extend(arg.text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max));
        }
        if text.chars().count() > chars_max {
            text = text.chars().take(chars_max).collect();
            text.push('…');
        }
        text
    }
}
