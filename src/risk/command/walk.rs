//! From a syntax tree to the programs that it runs, each with its words, its input and its place.

use std::collections::HashSet;

use brush_parser::ParserOptions;
use brush_parser::ast::{
    AndOr, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList,
    Pipeline, ProcessSubstitutionKind, SeparatorOperator, SimpleCommand,
};

use super::args;
use super::expand::{Field, Variables};
use super::facts::{Fact, Facts};
use super::invocation::{Invocation, Source};
use super::{flow, programs, shape, unwrap};

/// Programs that one command line may run before it is critical as it is.
pub const INVOCATIONS_MAX: usize = 4096;
/// Texts inside texts (`sh -c`, `ssh`, `eval`) that are followed.
const DEPTH_MAX: usize = 72;
/// Compound commands inside each other, over every text inside the command: what the stack bears.
const NESTED_MAX: usize = 128;
/// Bytes parsed in all, over every text inside the command.
const PARSED_BYTES_MAX: usize = 8 * shape::COMMAND_BYTES_MAX;

/// Why a command could not be followed to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    Misshapen(shape::Misshapen),
    Unparsable(String),
    TooMany,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lost::Misshapen(why) => write!(f, "{why}"),
            Lost::Unparsable(why) => write!(f, "the command is no shell that can be parsed: {why}"),
            Lost::TooMany => write!(f, "the command runs more programs, or holds more text in text, than are followed"),
        }
    }
}

/// Follows the commands of a text.
pub struct Walker<'k> {
    pub(super) options: ParserOptions,
    /// Whether a program is known to the rules or the lists.
    known: &'k dyn Fn(&str) -> bool,
    pub invocations: Vec<Invocation>,
    pub lost: Option<Lost>,
    pub(super) variables: Variables,
    pub(super) functions: HashSet<String>,
    /// What earlier commands said of where later ones act.
    pub(super) session: Vec<String>,
    pub(super) cwd: String,
    depth: usize,
    nested: usize,
    parsed_bytes: usize,
    inside_function: Option<String>,
}

/// What is around a command that is not in its own words.
#[derive(Clone, Default)]
pub struct Around {
    pub stdin: Source,
    pub context: Vec<String>,
    pub facts: Facts,
    /// Where its arguments come from that are made by a process.
    pub given: Source,
}

impl<'k> Walker<'k> {
    pub fn new(known: &'k dyn Fn(&str) -> bool) -> Self {
        Walker {
            options: ParserOptions::default(),
            known,
            invocations: Vec::new(),
            lost: None,
            variables: Variables::default(),
            functions: HashSet::new(),
            session: Vec::new(),
            cwd: String::new(),
            depth: 0,
            nested: 0,
            parsed_bytes: 0,
            inside_function: None,
        }
    }

    /// Parses a text and follows it.
    pub fn text(&mut self, text: &str, around: &Around) -> Source {
        if self.lost.is_some() || text.trim().is_empty() {
            return Source::Nothing;
        }
        self.parsed_bytes += text.len();
        if self.depth >= DEPTH_MAX || self.parsed_bytes > PARSED_BYTES_MAX {
            self.lost = Some(Lost::TooMany);
            return Source::Unknown;
        }
        if let Err(why) = shape::check(text) {
            self.lost = Some(Lost::Misshapen(why));
            return Source::Unknown;
        }
        let parsed = brush_parser::Parser::new(text.as_bytes(), &self.options).parse_program();
        match parsed {
            Ok(program) => {
                self.depth += 1;
                let mut last = Source::Nothing;
                for list in &program.complete_commands {
                    last = self.list(list, around);
                }
                self.depth -= 1;
                last
            }
            Err(error) => {
                self.lost = Some(Lost::Unparsable(error.to_string()));
                Source::Unknown
            }
        }
    }

    pub(super) fn list(&mut self, list: &CompoundList, around: &Around) -> Source {
        let mut last = Source::Nothing;
        for item in &list.0 {
            let background = matches!(item.1, SeparatorOperator::Async);
            last = self.pipeline(&item.0.first, around, background);
            for next in &item.0.additional {
                last = match next {
                    AndOr::And(pipeline) | AndOr::Or(pipeline) => self.pipeline(pipeline, around, background),
                };
            }
        }
        last
    }

    fn pipeline(&mut self, pipeline: &Pipeline, around: &Around, background: bool) -> Source {
        if let Some(function) = self.inside_function.clone() {
            let calls = |command: &Command| matches!(command, Command::Simple(simple) if simple.word_or_name.as_ref().is_some_and(|word| word.value == function));
            let forks = pipeline.seq.iter().filter(|command| calls(command)).count();
            if forks > 1 || (forks == 1 && background) {
                self.emit("fork_bomb", "fork_bomb", Vec::new(), around);
            }
        }
        let mut around = around.clone();
        for command in &pipeline.seq {
            around.stdin = self.command(command, &around);
            if self.lost.is_some() {
                return Source::Unknown;
            }
        }
        around.stdin
    }

    fn command(&mut self, command: &Command, around: &Around) -> Source {
        match command {
            Command::Simple(simple) => self.simple(simple, around),
            Command::Compound(compound, redirects) => {
                let mut around = around.clone();
                for redirect in redirects.iter().flat_map(|list| &list.0) {
                    self.redirect(redirect, &mut around);
                }
                self.compound(compound, &around)
            }
            Command::Function(function) => {
                let outer = self.inside_function.replace(function.fname.value.clone());
                self.compound(&function.body.0, &Around::default());
                self.inside_function = outer;
                self.functions.insert(function.fname.value.clone());
                Source::Nothing
            }
            Command::ExtendedTest(..) => {
                // A test may still run what is substituted in it.
                self.substitutions_of(&command.to_string(), around);
                Source::Nothing
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand, around: &Around) -> Source {
        if self.nested >= NESTED_MAX {
            self.lost = Some(Lost::TooMany);
            return Source::Unknown;
        }
        self.nested += 1;
        let source = self.compound_within(compound, around);
        self.nested -= 1;
        source
    }

    fn compound_within(&mut self, compound: &CompoundCommand, around: &Around) -> Source {
        match compound {
            CompoundCommand::Arithmetic(_) => {
                self.substitutions_of(&compound.to_string(), around);
                Source::Nothing
            }
            CompoundCommand::ArithmeticForClause(clause) => {
                self.substitutions_of(&compound.to_string(), around);
                self.list(&clause.body.list, around)
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list, around),
            CompoundCommand::Subshell(subshell) => {
                let (cwd, session) = (self.cwd.clone(), self.session.len());
                let source = self.list(&subshell.list, around);
                self.cwd = cwd;
                self.session.truncate(session);
                source
            }
            CompoundCommand::ForClause(clause) => {
                let mut values = Vec::new();
                let mut dynamic = clause.values.is_none();
                for word in clause.values.iter().flatten() {
                    for field in self.word(word, around).0 {
                        dynamic |= field.dynamic;
                        values.push(field.text);
                    }
                }
                if dynamic || values.is_empty() {
                    self.variables.forget(&clause.variable_name);
                    return self.list(&clause.body.list, around);
                }
                // Each value is a run of its own; the strictest of a few stand for all.
                let mut source = Source::Nothing;
                for value in values.iter().take(16) {
                    self.variables.set(&clause.variable_name, value);
                    source = self.list(&clause.body.list, around);
                }
                source
            }
            CompoundCommand::CaseClause(clause) => {
                self.word(&clause.value, around);
                let mut source = Source::Nothing;
                for item in &clause.cases {
                    if let Some(list) = &item.cmd {
                        source = self.list(list, around);
                    }
                }
                source
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition, around);
                let mut source = self.list(&clause.then, around);
                for branch in clause.elses.iter().flatten() {
                    if let Some(condition) = &branch.condition {
                        self.list(condition, around);
                    }
                    source = self.list(&branch.body, around);
                }
                source
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0, around);
                self.list(&clause.1.list, around)
            }
            CompoundCommand::Coprocess(coprocess) => self.command(&coprocess.body, around),
        }
    }

    fn simple(&mut self, simple: &SimpleCommand, around: &Around) -> Source {
        let mut around = around.clone();
        let mut assigned: Vec<(String, Field)> = Vec::new();
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            match item {
                CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) => {
                    let AssignmentName::VariableName(name) = &assignment.name else { continue };
                    let value = match &assignment.value {
                        AssignmentValue::Scalar(word) => self.one(word, &around),
                        AssignmentValue::Array(items) => {
                            let mut whole = Field::default();
                            for (_, word) in items {
                                let part = self.one(word, &around);
                                whole.dynamic |= part.dynamic;
                                if !whole.text.is_empty() {
                                    whole.text.push(' ');
                                }
                                whole.text.push_str(&part.text);
                            }
                            whole
                        }
                    };
                    assigned.push((name.clone(), value));
                }
                CommandPrefixOrSuffixItem::IoRedirect(redirect) => self.redirect(redirect, &mut around),
                CommandPrefixOrSuffixItem::Word(_) | CommandPrefixOrSuffixItem::ProcessSubstitution(..) => {}
            }
        }
        let mut words = Vec::new();
        let mut made = Source::Nothing;
        if let Some(word) = &simple.word_or_name {
            words.extend(self.word(word, &around).0);
        }
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            match item {
                CommandPrefixOrSuffixItem::Word(word) | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => {
                    let (fields, source) = self.word(word, &around);
                    words.extend(fields);
                    if let Some(source @ (Source::Network | Source::Secret | Source::Decoded | Source::Dump)) = source {
                        made = source;
                    }
                }
                CommandPrefixOrSuffixItem::IoRedirect(redirect) => self.redirect(redirect, &mut around),
                CommandPrefixOrSuffixItem::ProcessSubstitution(kind, subshell) => {
                    let inner = Around { stdin: Source::Local, given: Source::Nothing, ..around.clone() };
                    let source = self.list(&subshell.list, &inner);
                    if matches!(kind, ProcessSubstitutionKind::Read) {
                        around.given = source;
                    }
                    words.push(Field { text: "<(…)".to_owned(), dynamic: true, quoted: false });
                }
            }
        }
        if made != Source::Nothing {
            around.given = made;
        }
        if words.is_empty() {
            for (name, value) in assigned {
                self.assign(&name, &value);
            }
            return Source::Nothing;
        }
        for (name, value) in assigned {
            self.emit_assignment(&name, &value, &around);
            around.context.push(value.text);
        }
        self.run(words, &around)
    }

    /// Follows a program and what it runs in turn.
    pub fn run(&mut self, mut words: Vec<Field>, around: &Around) -> Source {
        if self.invocations.len() >= INVOCATIONS_MAX || self.depth >= DEPTH_MAX {
            self.lost = Some(Lost::TooMany);
        }
        if self.lost.is_some() || words.is_empty() {
            return Source::Unknown;
        }
        let first = words.remove(0);
        let program = program_name(&first.text);
        if first.dynamic && !programs::is_usual_variable(first.text.split('/').next().unwrap_or_default()) {
            let mut around = around.clone();
            around.facts.add(Fact::DynamicProgram);
            return self.emit(&program, &first.text, words, &around);
        }
        if self.functions.contains(&first.text) {
            return Source::Local;
        }
        self.depth += 1;
        let source = unwrap::follow(self, &program, &first.text, words, around);
        self.depth -= 1;
        source
    }

    /// Notes a program that runs; gives what it would write.
    pub fn emit(&mut self, program: &str, path: &str, words: Vec<Field>, around: &Around) -> Source {
        let mut context = self.session.clone();
        context.extend(around.context.iter().cloned());
        let mut invocation = Invocation {
            program: program.to_owned(),
            path: path.to_owned(),
            args: args::sort(program, words),
            stdin: around.stdin.clone(),
            context,
            cwd: self.cwd.clone(),
            facts: around.facts,
        };
        match &around.given {
            Source::Network => {
                invocation.facts.add(Fact::InNetwork);
                invocation.facts.add(Fact::GivenForeign);
            }
            Source::Decoded => {
                invocation.facts.add(Fact::InDecoded);
                invocation.facts.add(Fact::GivenForeign);
            }
            Source::Secret => invocation.facts.add(Fact::InSecret),
            Source::Dump => invocation.facts.add(Fact::InDump),
            Source::Nothing | Source::Literal(_) | Source::Local | Source::Listing(_) | Source::Unknown => {}
        }
        let known = (self.known)(program);
        super::detect::find(&mut invocation, known);
        let source = flow::output(&invocation, &around.given);
        self.invocations.push(invocation);
        source
    }

    /// Whether rules or lists know a program.
    pub fn knows(&self, program: &str) -> bool {
        (self.known)(program)
    }

    /// Remembers a directory change.
    pub fn change_directory(&mut self, to: &str) {
        let absolute = to.starts_with('/') || to.starts_with('~') || to.starts_with('$');
        self.cwd = if absolute || self.cwd.is_empty() { to.to_owned() } else { format!("{}/{to}", self.cwd) };
    }

    /// Remembers that later commands act where these words say.
    pub fn act_on(&mut self, words: impl IntoIterator<Item = String>) {
        if self.session.len() < 64 {
            self.session.extend(words);
        }
    }
}

/// The name that rules know a program by.
pub fn program_name(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(path).to_ascii_lowercase();
    name.strip_suffix(".exe").map(str::to_owned).unwrap_or(name)
}
