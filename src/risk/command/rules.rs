//! The rules for commands: `command_risk` of `tool_config.yaml`, checked against their own examples.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::facts::Fact;
use super::invocation::Invocation;
use super::pattern::Pattern;
use crate::schema::RiskScore;

/// Most rules of a file.
const RULES_MAX: usize = 1000;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRisk {
    pub bases: Bases,
    pub rules: Vec<Rule>,
}

/// Where the score of a program begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bases {
    /// Programs, with words where it takes them, that change nothing.
    pub reads: Base,
    /// Programs that build, test, edit and fetch; what else they may do has rules.
    pub works: Base,
    /// Every other program.
    pub unknown: RiskScore,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    pub risk: RiskScore,
    pub why: String,
    /// Patterns, several on a line separated by commas.
    pub commands: Vec<String>,
}

/// One rule. The strictest that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub id: String,
    /// The score that a command has at least.
    pub risk: RiskScore,
    pub why: String,
    /// Patterns, of which one must match (`pattern.rs`).
    pub commands: Vec<String>,
    /// Holds for dry runs and questions for help too.
    #[serde(default)]
    pub always: bool,
    /// Commands that it must match.
    #[serde(rename = "match")]
    pub matches: Vec<String>,
    /// Commands that it must not match.
    pub not_match: Vec<String>,
}

/// Why rules are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("command_risk: rule `{rule}`: {problem}")]
    Pattern { rule: String, problem: String },
    #[error("command_risk: rule `{rule}` needs a justification, a command, a match and a not_match")]
    Incomplete { rule: String },
    #[error("command_risk: two rules are called `{rule}`")]
    Twice { rule: String },
    #[error("command_risk: rule `{rule}` does not match `{example}`, which it says it does")]
    Misses { rule: String, example: String },
    #[error("command_risk: rule `{rule}` matches `{example}`, which it says it does not")]
    Overreaches { rule: String, example: String },
    #[error("command_risk: {count} rules, at most {RULES_MAX} are taken")]
    TooMany { count: usize },
}

/// Rules that were read, by program.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Compiled>,
    /// For each program, the patterns that name it: rule and pattern.
    by_program: HashMap<String, Vec<(usize, usize)>>,
    /// Patterns of any program, and those that name some by wildcards, with these.
    general: Vec<(usize, usize, Vec<String>)>,
    reads: HashMap<String, Vec<Pattern>>,
    known: BTreeSet<String>,
    bases: (RiskScore, RiskScore, RiskScore),
}

#[derive(Clone, Debug)]
struct Compiled {
    id: String,
    risk: RiskScore,
    why: String,
    always: bool,
    patterns: Vec<Pattern>,
}

/// A rule that matched.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    pub id: &'a str,
    pub risk: RiskScore,
    pub why: &'a str,
}

impl Rules {
    /// Reads the patterns. The examples are checked by [`super::CommandScorer::new`], which can score.
    ///
    /// # Errors
    /// A pattern that cannot be read, a rule without its parts, two of one name.
    pub fn compile(config: &CommandRisk) -> Result<Rules, RuleError> {
        if config.rules.len() > RULES_MAX {
            return Err(RuleError::TooMany { count: config.rules.len() });
        }
        let mut rules = Rules {
            rules: Vec::new(),
            by_program: HashMap::new(),
            general: Vec::new(),
            reads: HashMap::new(),
            known: BTreeSet::new(),
            bases: (config.bases.reads.risk, config.bases.works.risk, config.bases.unknown),
        };
        for (name, base) in [("bases.reads", &config.bases.reads), ("bases.works", &config.bases.works)] {
            for text in base.commands.iter().flat_map(|line| line.split(',')) {
                let pattern = parse(name, text)?;
                for program in &pattern.programs {
                    rules.known.insert(program.clone());
                    if name == "bases.reads" {
                        rules.reads.entry(program.clone()).or_default().push(pattern.clone());
                    }
                }
            }
        }
        let mut ids = BTreeSet::new();
        for (at, rule) in config.rules.iter().enumerate() {
            if !ids.insert(&rule.id) {
                return Err(RuleError::Twice { rule: rule.id.clone() });
            }
            let blank = |text: &String| text.trim().is_empty();
            if blank(&rule.id)
                || blank(&rule.why)
                || rule.commands.is_empty()
                || rule.matches.is_empty()
                || rule.not_match.is_empty()
            {
                return Err(RuleError::Incomplete { rule: rule.id.clone() });
            }
            let patterns: Vec<Pattern> =
                rule.commands.iter().map(|text| parse(&rule.id, text)).collect::<Result<_, _>>()?;
            for (number, pattern) in patterns.iter().enumerate() {
                let globs: Vec<String> =
                    pattern.programs.iter().filter(|program| program.contains('*')).cloned().collect();
                if pattern.programs.is_empty() || !globs.is_empty() {
                    rules.general.push((at, number, globs));
                }
                for program in pattern.programs.iter().filter(|program| !program.contains('*')) {
                    rules.by_program.entry(program.clone()).or_default().push((at, number));
                    rules.known.insert(program.clone());
                }
            }
            let Rule { id, risk, why, always, .. } = rule.clone();
            rules.rules.push(Compiled { id, risk, why, always, patterns });
        }
        Ok(rules)
    }

    /// Whether a list or a rule names the program.
    pub fn knows(&self, program: &str) -> bool {
        self.known.contains(program) || super::programs::is_interpreter(program)
    }

    /// Whether the program only looks.
    pub fn only_reads(&self, invocation: &Invocation) -> bool {
        self.reads
            .get(&invocation.program)
            .is_some_and(|patterns| patterns.iter().any(|pattern| pattern.matches(invocation)))
    }

    /// The score that an invocation begins with.
    pub fn base(&self, invocation: &Invocation) -> RiskScore {
        let (reads, works, unknown) = self.bases;
        if invocation.facts.has(Fact::Reads) {
            reads
        } else if invocation.facts.has(Fact::Unknown) {
            unknown
        } else {
            works
        }
    }

    /// Every rule that matches.
    pub fn hits<'a>(&'a self, invocation: &'a Invocation) -> impl Iterator<Item = Hit<'a>> {
        let by_name = self.by_program.get(&invocation.program).map_or(&[][..], Vec::as_slice);
        let harmless = invocation.facts.has(Fact::DryRun) || invocation.facts.has(Fact::Help);
        let by_glob = self.general.iter().filter(move |(.., globs)| {
            globs.is_empty() || globs.iter().any(|glob| super::glob::matches(glob, &invocation.program))
        });
        let named = by_name.iter().copied().chain(by_glob.map(|(rule, pattern, _)| (*rule, *pattern)));
        named.filter_map(move |(rule, pattern)| {
            let compiled = &self.rules[rule];
            let pattern = &compiled.patterns[pattern];
            ((compiled.always || !harmless) && pattern.matches(invocation)).then_some(Hit {
                id: &compiled.id,
                risk: compiled.risk,
                why: &compiled.why,
            })
        })
    }
}

fn parse(rule: &str, text: &str) -> Result<Pattern, RuleError> {
    Pattern::parse(text).map_err(|problem| RuleError::Pattern { rule: rule.to_owned(), problem })
}
