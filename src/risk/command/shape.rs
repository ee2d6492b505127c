//! What is refused before a parser sees it: the parser recurses, and its stack has an end.

/// Longest command that is parsed, in bytes.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting that is parsed. The parser overflows its stack at some thousand levels.
pub const NESTING_MAX: usize = 64;

/// Why a command is critical without being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misshapen {
    Empty,
    TooLong {
        bytes: usize,
    },
    TooDeep,
    /// Control characters that a terminal acts on, or text that is shown in another order than it runs.
    Hidden(char),
}

impl std::fmt::Display for Misshapen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Misshapen::Empty => write!(f, "there is no command"),
            Misshapen::TooLong { bytes } => {
                write!(f, "the command has {bytes} bytes, at most {COMMAND_BYTES_MAX} are looked at")
            }
            Misshapen::TooDeep => write!(f, "the command nests deeper than {NESTING_MAX} levels"),
            Misshapen::Hidden(c) => write!(f, "the command holds U+{:04X}, which hides what it does", u32::from(*c)),
        }
    }
}

/// Checks size, nesting and hidden characters in one pass. Quotes are not understood here: a
/// quoted bracket counts too, so that the answer can only be too strict.
pub fn check(text: &str) -> Result<(), Misshapen> {
    if text.trim().is_empty() {
        return Err(Misshapen::Empty);
    }
    if text.len() > COMMAND_BYTES_MAX {
        return Err(Misshapen::TooLong { bytes: text.len() });
    }
    let hidden = |c: &char| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if let Some(c) = text.chars().find(hidden) {
        return Err(Misshapen::Hidden(c));
    }
    if brackets(text) > NESTING_MAX || keywords(text) > NESTING_MAX { Err(Misshapen::TooDeep) } else { Ok(()) }
}

fn brackets(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    // A backquote inside backquotes is written with a backslash, so its level is the backslashes before it.
    let mut backslashes = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b'`' => deepest = deepest.max(backslashes),
            _ => {}
        }
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
    }
    deepest
}

/// Levels of compound commands, and runs of prefixes that the parser takes one level each.
fn keywords(text: &str) -> usize {
    let (mut depth, mut deepest, mut prefixes) = (0usize, 0usize, 0usize);
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')')) {
        match word {
            "" => continue,
            "if" | "for" | "while" | "until" | "case" | "select" | "do" | "elif" | "else" => {
                depth += 1;
                deepest = deepest.max(depth);
                prefixes = 0;
            }
            "fi" | "esac" | "done" => {
                depth = depth.saturating_sub(1);
                prefixes = 0;
            }
            "!" | "time" | "coproc" | "function" => {
                prefixes += 1;
                deepest = deepest.max(prefixes);
            }
            _ => prefixes = 0,
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_could_not_stand_is_refused_before_it() {
        assert_eq!(check("  \n"), Err(Misshapen::Empty));
        assert_eq!(check(&"a".repeat(COMMAND_BYTES_MAX + 1)), Err(Misshapen::TooLong { bytes: COMMAND_BYTES_MAX + 1 }));
        for (open, close) in [("$(", ")"), ("(", ")"), ("${a:-", "}"), ("{ ", ";}"), ("if ", " fi "), ("! ", "")] {
            let nested = |levels: usize| format!("{}true{}", open.repeat(levels), close.repeat(levels));
            assert_eq!(check(&nested(NESTING_MAX + 1)), Err(Misshapen::TooDeep), "{open}");
            assert_eq!(check(&nested(5_000)), Err(Misshapen::TooDeep), "{open}");
            assert_eq!(check(&nested(8)), Ok(()), "{open}");
        }
        assert_eq!(check("ls \u{202e}fdp.exe"), Err(Misshapen::Hidden('\u{202e}')));
        assert_eq!(check("ls \u{1b}[2K"), Err(Misshapen::Hidden('\u{1b}')));
        assert_eq!(check("printf 'ä ☕\\n'\n\tls\r\n"), Ok(()));
    }
}
