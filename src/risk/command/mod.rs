//! The risk of a shell command line: parsed, followed to every program it runs, scored program by
//! program. What is only said (`echo`, `grep`, a commit message) is not run and does not count.

pub mod args;
mod detect;
pub mod expand;
pub mod facts;
mod flow;
pub mod glob;
pub mod invocation;
pub mod pattern;
mod places;
pub mod programs;
pub mod rules;
pub mod shape;
mod unwrap;
pub mod verbs;
pub mod walk;
mod words;
mod wrappers;

use std::collections::BTreeMap;

pub use facts::Fact;
pub use invocation::Invocation;
use rules::Rules;
pub use rules::{CommandRisk, RuleError};
pub use walk::Lost;
use walk::{Around, Walker};

use crate::schema::RiskScore;

/// Longest text of an invocation in a finding, in characters.
const SHOWN_CHARS_MAX: usize = 80;
/// Findings that are listed; the strictest are kept.
const FINDINGS_MAX: usize = 16;

/// A rule that a program of the command met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: String,
    pub risk: RiskScore,
    pub why: String,
    /// The program and its words.
    pub command: String,
}

/// What the rules say of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The highest base of the programs that run.
    pub base: RiskScore,
    /// The strictest first; at most [`FINDINGS_MAX`].
    pub found: Vec<Finding>,
}

impl Findings {
    /// What the rules alone score.
    pub fn risk(&self) -> RiskScore {
        self.found.first().map_or(self.base, |finding| finding.risk.max(self.base))
    }
}

/// A command that was followed.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    pub invocations: Vec<Invocation>,
    pub lost: Option<Lost>,
}

/// Scores commands by the rules.
#[derive(Clone, Debug)]
pub struct CommandScorer {
    rules: Rules,
}

impl CommandScorer {
    /// Reads the rules and checks each against its own examples.
    ///
    /// # Errors
    /// The first rule that cannot be read, or that its own examples contradict.
    pub fn new(config: &CommandRisk) -> Result<CommandScorer, RuleError> {
        let (scorer, mut problems) = CommandScorer::check(config)?;
        if problems.is_empty() { Ok(scorer) } else { Err(problems.swap_remove(0)) }
    }

    /// Reads the rules and lists every example that contradicts its rule.
    ///
    /// # Errors
    /// The first rule that cannot be read.
    pub fn check(config: &CommandRisk) -> Result<(CommandScorer, Vec<RuleError>), RuleError> {
        let scorer = CommandScorer { rules: Rules::compile(config)? };
        let mut problems = Vec::new();
        for rule in &config.rules {
            for example in rule.matches.iter().filter(|example| !scorer.meets(&rule.id, example)) {
                problems.push(RuleError::Misses { rule: rule.id.clone(), example: example.clone() });
            }
            for example in rule.not_match.iter().filter(|example| scorer.meets(&rule.id, example)) {
                problems.push(RuleError::Overreaches { rule: rule.id.clone(), example: example.clone() });
            }
        }
        Ok((scorer, problems))
    }

    fn meets(&self, rule: &str, command: &str) -> bool {
        let followed = self.follow(command);
        followed.lost.is_none()
            && followed.invocations.iter().any(|invocation| self.rules.hits(invocation).any(|hit| hit.id == rule))
    }

    /// Parses a command and finds every program that it runs. Runs nothing.
    pub fn follow(&self, command: &str) -> Followed {
        let known = |program: &str| self.rules.knows(program);
        let mut walker = Walker::new(&known);
        if let Err(why) = shape::check(command) {
            return Followed { invocations: Vec::new(), lost: Some(Lost::Misshapen(why)) };
        }
        walker.text(command, &Around::default());
        let Walker { mut invocations, lost, .. } = walker;
        for invocation in &mut invocations {
            let reads = self.rules.only_reads(invocation);
            invocation.facts.set(Fact::Reads, reads);
        }
        run_downloads(&mut invocations);
        Followed { invocations, lost }
    }

    /// What the rules say of one program.
    pub fn risk_of(&self, invocation: &Invocation) -> RiskScore {
        self.rules.hits(invocation).map(|hit| hit.risk).max().unwrap_or_default().max(self.rules.base(invocation))
    }

    /// What the rules find in a command that was followed. One that was lost is critical.
    pub fn judge(&self, followed: &Followed) -> Findings {
        let mut base = RiskScore::MIN;
        // One finding a rule: the same rule met a hundred times says nothing more.
        let mut by_rule: BTreeMap<&str, Finding> = BTreeMap::new();
        for invocation in &followed.invocations {
            base = base.max(self.rules.base(invocation));
            for hit in self.rules.hits(invocation) {
                by_rule.entry(hit.id).or_insert_with(|| Finding {
                    rule: hit.id.to_owned(),
                    risk: hit.risk,
                    why: hit.why.to_owned(),
                    command: invocation.shown(SHOWN_CHARS_MAX),
                });
            }
        }
        let mut found: Vec<Finding> = by_rule.into_values().collect();
        if let Some(lost) = &followed.lost {
            found.push(Finding {
                rule: "not_followed".to_owned(),
                risk: RiskScore::MAX,
                why: format!("what cannot be read is critical: {lost}"),
                command: String::new(),
            });
        }
        found.sort_by(|a, b| b.risk.cmp(&a.risk).then_with(|| a.rule.cmp(&b.rule)));
        found.truncate(FINDINGS_MAX);
        if base == RiskScore::MIN {
            base = self.rules.base(&Invocation { facts: reads(), ..Invocation::default() });
        }
        Findings { base, found }
    }
}

fn reads() -> facts::Facts {
    let mut facts = facts::Facts::default();
    facts.add(Fact::Reads);
    facts
}

/// A file that came from the network and is then run: `curl -o x …; sh x`.
fn run_downloads(invocations: &mut [Invocation]) {
    let mut files: Vec<String> = Vec::new();
    for invocation in invocations.iter_mut() {
        let is_file = |name: &str| files.iter().any(|file| file == bare(name));
        let runs = is_file(&invocation.path)
            || ((programs::is_shell(&invocation.program)
                || programs::is_interpreter(&invocation.program)
                || matches!(invocation.program.as_str(), "source" | "chmod" | "dpkg" | "rpm" | "installer" | "java"))
                && invocation.positionals().any(|arg| is_file(&arg.text)));
        if runs && invocation.program != "chmod" {
            invocation.facts.add(Fact::InNetwork);
        }
        if files.len() < 64
            && matches!(invocation.program.as_str(), "curl" | "wget")
            && !invocation.facts.has(Fact::Loopback)
        {
            let mut previous = "";
            for arg in &invocation.args {
                if matches!(
                    previous,
                    "-o" | "-O"
                        | "--output"
                        | "--output-document"
                        | "-fsSLo"
                        | "-sSLo"
                        | "-Lo"
                        | "-sLo"
                        | "-qO"
                        | "-fsSLO"
                        | "-sSfLo"
                        | "-fLo"
                        | "-LO"
                ) && !arg.text.starts_with('-')
                    && !arg.text.contains("://")
                {
                    files.push(bare(&arg.text).to_owned());
                } else if let Some((_, rest)) = arg.text.split_once("://")
                    && let Some(name) = rest.rsplit('/').next().filter(|name| !name.is_empty() && rest.contains('/'))
                {
                    files.push(bare(name).to_owned());
                }
                previous = &arg.text;
            }
        }
        if files.len() < 64
            && matches!(invocation.program.as_str(), "write_to")
            && invocation.facts.has(Fact::InNetwork)
        {
            files.extend(invocation.positionals().map(|arg| bare(&arg.text).to_owned()));
        }
    }
}

fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
