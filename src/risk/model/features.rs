//! What the model sees of a program or of a tool call: never prose, and only what is run or touched.

use serde_json::{Map, Value};

use crate::risk::command::args::Role;
use crate::risk::command::facts::Fact;
use crate::risk::command::invocation::Invocation;
use crate::risk::command::verbs::words;

/// Words and flags of one program that become features.
const WORDS_MAX: usize = 8;
const FLAGS_MAX: usize = 12;
/// Characters of a word that give trigrams.
const TRIGRAM_CHARS_MAX: usize = 24;

/// Takes a feature: its kind and up to two parts. Buckets are of kind and parts together.
pub type Sink<'a> = &'a mut dyn FnMut(&'static str, &str, &str);

/// Facts that speak for harm. Those that speak against it are no features: nothing lowers.
const TELLING: [Fact; 28] = [
    Fact::Root,
    Fact::WorkspaceRoot,
    Fact::System,
    Fact::Outside,
    Fact::Secret,
    Fact::Device,
    Fact::Autorun,
    Fact::Pipeline,
    Fact::GitDir,
    Fact::Dynamic,
    Fact::Wildcard,
    Fact::Production,
    Fact::ProtectedBranch,
    Fact::Remote,
    Fact::SqlDestructive,
    Fact::SqlUnbounded,
    Fact::SqlPrivilege,
    Fact::SqlWrite,
    Fact::CodeDestroys,
    Fact::CodeExecutes,
    Fact::CodeConnects,
    Fact::InNetwork,
    Fact::InDecoded,
    Fact::InSecret,
    Fact::Destroys,
    Fact::Releases,
    Fact::Privileged,
    Fact::Elsewhere,
];

/// Whether the model has anything to say of a program: of one that only looks, it has not.
pub fn speaks_of(invocation: &Invocation) -> bool {
    let has = |fact: Fact| invocation.facts.has(fact);
    let only_looks = has(Fact::Looks) && !has(Fact::Destroys) && !has(Fact::Releases);
    !only_looks && ![Fact::Reads, Fact::Help, Fact::DryRun, Fact::Development].into_iter().any(has)
}

/// The features of a program with its words. Of a program that rules know, only what they know of
/// it: its name and its words are their business. Of any other, its words and their letters too.
pub fn of_invocation(invocation: &Invocation, sink: Sink<'_>) {
    let program = invocation.program.as_str();
    let unknown = invocation.facts.has(Fact::Unknown);
    let kind = if unknown { "fact of an unlisted program" } else { "fact" };
    let facts: Vec<&str> = TELLING.iter().filter(|fact| invocation.facts.has(**fact)).map(|fact| fact.name()).collect();
    for (at, fact) in facts.iter().enumerate() {
        sink(kind, fact, "");
        for other in &facts[at + 1..] {
            sink(kind, fact, other);
        }
    }
    if !unknown {
        return;
    }
    for word in words(program) {
        sink("word of a program's name", &word, "");
    }
    for arg in invocation.positionals().take(WORDS_MAX) {
        if arg.text.len() > 64 || arg.text.contains([' ', '/']) || arg.dynamic {
            continue;
        }
        for word in words(&arg.text) {
            sink("word", &word, "");
            trigrams(&word, sink);
        }
    }
    for flag in invocation.args.iter().filter(|arg| arg.role == Role::Flag).take(FLAGS_MAX) {
        let name = flag.text.split('=').next().unwrap_or(&flag.text);
        if name.len() <= 40 {
            sink("flag", name, "");
        }
    }
}

fn trigrams(word: &str, sink: Sink<'_>) {
    let lower: Vec<char> =
        std::iter::once('^').chain(word.to_lowercase().chars().take(TRIGRAM_CHARS_MAX)).chain(['$']).collect();
    for three in lower.windows(3) {
        let text: String = three.iter().collect();
        sink("letters", &text, "");
    }
}

/// The features of a tool call: the tool, the traits that were found, and the words of short values.
pub fn of_action(tool: &str, signals: &[&str], parameters: &Map<String, Value>, sink: Sink<'_>) {
    sink("tool", tool, "");
    for signal in signals {
        sink("trait", signal, "");
        sink("tool and trait", tool, signal);
    }
    let texts = parameters
        .iter()
        .filter(|(name, _)| !["content", "reasoning", "message", "query", "description"].contains(&name.as_str()));
    for (name, value) in texts.take(WORDS_MAX) {
        sink("tool and parameter", tool, name);
        let Some(text) = value.as_str().filter(|text| text.len() <= 256) else { continue };
        for part in text.split('/').filter(|part| part.len() <= 64).take(WORDS_MAX) {
            sink("tool and part", tool, part);
            for word in words(part) {
                sink("tool and word", tool, &word);
            }
        }
    }
}
