//! The language that rules are written in: a program, its words, its flags, and facts.
//!
//! `kubectl delete|drain !<dev> !--dry-run` is: the program `kubectl`, its first positional word
//! `delete` or `drain`, no development environment named, no flag `--dry-run`.
//!
//! | word | means |
//! |---|---|
//! | the first | names of programs, `a\|b`, with `*` as a wildcard; `*` alone is any program |
//! | `-f\|--force` | one of these flags is there, in a cluster too; `--replicas=0` with this value |
//! | `<fact>`, `<a>\|<b>` | a fact holds, or one of them (`facts.rs`) |
//! | `any:GLOB` | some word, flag or not, is like this |
//! | `!…` | none of the above |
//! | `**` | any number of positional words |
//! | others | the next positional word is like this |

use super::args;
use super::facts::Fact;
use super::glob;
use super::invocation::Invocation;

/// Positional words that a pattern looks at.
const POSITIONALS_MAX: usize = 256;

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Names; empty where any program matches.
    pub programs: Vec<String>,
    words: Vec<String>,
    conditions: Vec<(bool, Condition)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Flag(Vec<String>),
    Facts(Vec<Fact>),
    Any(String),
}

impl Pattern {
    /// # Errors
    /// What cannot be read, in words.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut words = text.split_whitespace();
        let programs = words.next().ok_or("a pattern begins with a program")?;
        if programs.starts_with(['<', '-', '!']) {
            return Err(format!("`{text}`: a pattern begins with a program"));
        }
        let programs = if programs == "*" { Vec::new() } else { programs.split('|').map(str::to_lowercase).collect() };
        let mut pattern = Pattern { programs, words: Vec::new(), conditions: Vec::new() };
        for word in words {
            let (negative, bare) = match word.strip_prefix('!') {
                Some(rest) if !rest.is_empty() => (true, rest),
                Some(_) | None => (false, word),
            };
            let condition = if bare.starts_with('<') {
                Condition::Facts(bare.split('|').map(fact).collect::<Result<_, _>>()?)
            } else if let Some(like) = bare.strip_prefix("any:") {
                Condition::Any(like.to_owned())
            } else if bare.starts_with('-') && bare.len() > 1 {
                Condition::Flag(bare.split('|').map(str::to_owned).collect())
            } else if negative {
                return Err(format!("`{text}`: `{word}` negates a positional word; use !any:"));
            } else {
                pattern.words.push(bare.to_owned());
                continue;
            };
            pattern.conditions.push((!negative, condition));
        }
        Ok(pattern)
    }

    /// Whether an invocation, whose program was looked up already, is like this.
    pub fn matches(&self, invocation: &Invocation) -> bool {
        self.conditions.iter().all(|(wanted, condition)| condition.holds(invocation) == *wanted)
            && self.positionals_match(invocation)
    }

    fn positionals_match(&self, invocation: &Invocation) -> bool {
        if self.words.is_empty() {
            return true;
        }
        // What the first n words of the pattern may have used up; a word that may be the value
        // of a flag may be passed over.
        let mut reached = vec![false; self.words.len() + 1];
        reached[0] = true;
        for arg in invocation.positionals().take(POSITIONALS_MAX) {
            let mut next = vec![false; reached.len()];
            for at in 0..self.words.len() {
                if !reached[at] {
                    continue;
                }
                let word = &self.words[at];
                if arg.role == args::Role::Either {
                    next[at] = true;
                }
                if word == "**" {
                    next[at] = true;
                    // The wildcard may end before this word.
                    if let Some(after) = self.words.get(at + 1)
                        && glob::matches(after, &arg.text)
                    {
                        next[at + 2] = true;
                    }
                } else if glob::matches(word, &arg.text) {
                    next[at + 1] = true;
                }
            }
            if next[self.words.len()] {
                return true;
            }
            reached = next;
        }
        false
    }
}

impl Condition {
    fn holds(&self, invocation: &Invocation) -> bool {
        match self {
            Condition::Flag(alternatives) => args::has_flag(&invocation.args, alternatives),
            Condition::Facts(facts) => facts.iter().any(|fact| invocation.facts.has(*fact)),
            Condition::Any(like) => invocation.args.iter().any(|arg| glob::matches(like, &arg.text)),
        }
    }
}

fn fact(text: &str) -> Result<Fact, String> {
    let name =
        text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).ok_or(format!("`{text}` is no <fact>"))?;
    Fact::ALL.iter().copied().find(|fact| fact.name() == name).ok_or_else(|| {
        let hint = crate::suggest::did_you_mean(name, Fact::ALL.iter().map(|fact| fact.name()));
        format!("there is no fact `{name}`{hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::expand::Field;
    use super::*;

    fn invocation(line: &str) -> Invocation {
        let mut words = line.split(' ');
        let program = words.next().unwrap().to_owned();
        let fields = words.map(|text| Field { text: text.to_owned(), ..Field::default() }).collect();
        let mut invocation = Invocation { args: args::sort(&program, fields), program, ..Invocation::default() };
        super::super::detect::find(&mut invocation, true);
        invocation
    }

    fn matches(pattern: &str, line: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&invocation(line))
    }

    #[test]
    fn patterns_are_about_words_in_their_places() {
        assert!(matches("kubectl delete !<dev>", "kubectl -n prod delete ns x"));
        assert!(!matches("kubectl delete !<dev>", "kubectl -n dev delete ns x"));
        assert!(!matches("kubectl delete", "kubectl get delete"));
        assert!(
            matches("git push -f|--force", "git --no-pager push -f")
                && matches("git push -f|--force", "git -C x push origin --force")
        );
        assert!(
            matches("aws ** delete-*", "aws ec2 --strange value delete-vpc")
                && matches("aws ** delete-*", "aws delete-x")
        );
        assert!(
            matches("aws s3 cp * s3://*", "aws s3 cp a s3://b") && !matches("aws s3 cp * s3://*", "aws s3 cp s3://b a")
        );
        assert!(matches("dd any:of=/dev/*", "dd if=x of=/dev/sda"));
        assert_eq!(Pattern::parse("x <prd>").unwrap_err(), "there is no fact `prd` (did you mean `prod`?)");
        assert!(Pattern::parse("x !y").is_err() && Pattern::parse("<prod>").is_err() && Pattern::parse("").is_err());
    }
}
