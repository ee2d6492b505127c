//! Words as a shell would see them, as far as that can be known without running anything.

use std::collections::HashMap;

use brush_parser::ParserOptions;
use brush_parser::word::{self, Parameter, ParameterExpr, TildeExpr, WordPiece, WordPieceWithSource};

/// Words that one brace expansion may give.
const BRACE_WORDS_MAX: usize = 256;
/// Longest word whose braces are expanded, in bytes. A longer one is only known when it runs.
const BRACE_BYTES_MAX: usize = 2048;
/// Longest word that is expanded, in bytes; a longer one is taken as it is written.
const EXPANDED_BYTES_MAX: usize = 64 * 1024;

/// Variables whose values are known, and what is only known to be set.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    known: HashMap<String, String>,
}

impl Variables {
    pub fn set(&mut self, name: &str, value: &str) {
        // More than this is no command that a person wrote.
        if self.known.len() < 1024 {
            self.known.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "HOME" => Some("~"),
            "PWD" => Some("."),
            "TMPDIR" => Some("/tmp"),
            "IFS" if !self.known.contains_key("IFS") => Some(" "),
            _ => self.known.get(name).map(String::as_str),
        }
    }
}

/// One word after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    pub text: String,
    /// Whether a part of it is only known when it runs; that part stands as it was written.
    pub dynamic: bool,
    /// Whether any of it was quoted.
    pub quoted: bool,
}

/// What a word gives: its fields, and the commands that run to make it.
#[derive(Clone, Debug, Default)]
pub struct Expanded {
    pub fields: Vec<Field>,
    pub substitutions: Vec<String>,
}

/// Expands a word: quotes, escapes, braces, known variables, field splitting.
pub fn expand(text: &str, variables: &Variables, options: &ParserOptions) -> Expanded {
    let mut expanded = Expanded::default();
    if !text.contains(['$', '`', '\\', '\'', '"', '~', '{']) || text.len() > EXPANDED_BYTES_MAX {
        let dynamic = text.len() > EXPANDED_BYTES_MAX;
        expanded.fields.push(Field { text: text.to_owned(), dynamic, quoted: false });
        return expanded;
    }
    let unexpanded = text.len() > BRACE_BYTES_MAX && first_brace(text).is_some();
    let alternatives = if unexpanded { vec![text.to_owned()] } else { braces(text) };
    for alternative in alternatives {
        let mut builder = Builder { variables, options, fields: Vec::new(), open: None, substitutions: Vec::new() };
        match word::parse(&alternative, options) {
            Ok(pieces) => builder.pieces(&pieces, false),
            Err(_) => {
                builder.push(&alternative, false);
                builder.mark_dynamic();
            }
        }
        if unexpanded {
            builder.mark_dynamic();
        }
        builder.close();
        expanded.fields.append(&mut builder.fields);
        expanded.substitutions.append(&mut builder.substitutions);
    }
    expanded
}

/// The text of a word that is not split, such as the value of an assignment.
pub fn expand_to_one(text: &str, variables: &Variables, options: &ParserOptions) -> (Field, Vec<String>) {
    let Expanded { fields, substitutions } = expand(text, variables, options);
    let field = Field {
        dynamic: fields.iter().any(|field| field.dynamic),
        quoted: fields.iter().any(|field| field.quoted),
        text: fields.into_iter().map(|field| field.text).collect::<Vec<_>>().join(" "),
    };
    (field, substitutions)
}

struct Builder<'a> {
    variables: &'a Variables,
    options: &'a ParserOptions,
    fields: Vec<Field>,
    open: Option<Field>,
    substitutions: Vec<String>,
}

impl Builder<'_> {
    fn push(&mut self, text: &str, quoted: bool) {
        let field = self.open.get_or_insert_with(Field::default);
        field.text.push_str(text);
        field.quoted |= quoted;
    }

    fn mark_dynamic(&mut self) {
        self.open.get_or_insert_with(Field::default).dynamic = true;
    }

    fn close(&mut self) {
        self.fields.extend(self.open.take());
    }

    /// A value that the shell splits where it is not quoted.
    fn push_value(&mut self, value: &str, quoted: bool) {
        if quoted {
            return self.push(value, true);
        }
        let separators = self.variables.known.get("IFS").map_or(" \t\n", String::as_str);
        let separates = |c: char| separators.contains(c);
        let mut parts = value.split(separates).filter(|part| !part.is_empty()).peekable();
        if value.starts_with(separates) {
            self.close();
        }
        while let Some(part) = parts.next() {
            self.push(part, false);
            if parts.peek().is_some() {
                self.close();
            }
        }
        if value.ends_with(separates) {
            self.close();
        }
    }

    fn pieces(&mut self, pieces: &[WordPieceWithSource], quoted: bool) {
        for piece in pieces {
            match &piece.piece {
                WordPiece::Text(text) => self.push(text, quoted),
                WordPiece::SingleQuotedText(text) => self.push(text, true),
                WordPiece::AnsiCQuotedText(text) => self.push(&decode_ansi_c(text), true),
                WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => {
                    self.push("", true);
                    self.pieces(inner, true);
                }
                WordPiece::TildeExpansion(TildeExpr::Home) => self.push("~", quoted),
                WordPiece::TildeExpansion(TildeExpr::UserHome(user)) => self.push(&format!("~{user}"), quoted),
                WordPiece::TildeExpansion(_) => self.push("~", quoted),
                WordPiece::ParameterExpansion(parameter) => self.parameter(parameter, quoted),
                WordPiece::CommandSubstitution(command) | WordPiece::BackquotedCommandSubstitution(command) => {
                    match foreseen(command) {
                        Some(output) => self.push_value(&output, quoted),
                        None => {
                            self.push("$(…)", quoted);
                            self.mark_dynamic();
                        }
                    }
                    self.substitutions.push(command.clone());
                }
                WordPiece::EscapeSequence(escape) => {
                    let text = escape.strip_prefix('\\').unwrap_or(escape);
                    if text != "\n" {
                        self.push(text, quoted);
                    }
                }
                WordPiece::ArithmeticExpression(_) => {
                    self.push("0", quoted);
                    self.mark_dynamic();
                }
            }
        }
    }

    fn parameter(&mut self, expression: &ParameterExpr, quoted: bool) {
        let (parameter, default) = match expression {
            ParameterExpr::Parameter { parameter, indirect: false } => (Some(parameter), None),
            ParameterExpr::UseDefaultValues { parameter, indirect: false, default_value, .. }
            | ParameterExpr::AssignDefaultValues { parameter, indirect: false, default_value, .. } => {
                (Some(parameter), default_value.as_deref())
            }
            ParameterExpr::IndicateErrorIfNullOrUnset { parameter, .. } => (Some(parameter), None),
            _ => (None, None),
        };
        let name = match parameter {
            Some(Parameter::Named(name)) => name.as_str(),
            Some(_) | None => "",
        };
        if let Some(value) = self.variables.get(name) {
            let value = value.to_owned();
            return self.push_value(&value, quoted);
        }
        if let Some(default) = default {
            let Expanded { fields, mut substitutions } = expand(default, self.variables, self.options);
            self.substitutions.append(&mut substitutions);
            let text = fields.iter().map(|field| field.text.as_str()).collect::<Vec<_>>().join(" ");
            self.push_value(&text, quoted);
            if fields.iter().any(|field| field.dynamic) {
                self.mark_dynamic();
            }
            return;
        }
        self.push(&format!("${name}"), quoted);
        self.mark_dynamic();
    }
}

/// The output of a few commands that is known without running them.
fn foreseen(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+:=".contains(c));
    if !words.iter().all(plain) {
        return None;
    }
    match words.as_slice() {
        ["pwd"] | ["git", "rev-parse", "--show-toplevel"] => Some(".".to_owned()),
        ["which", program] | ["command", "-v", program] | ["type", "-p", program] => Some((*program).to_owned()),
        ["echo", rest @ ..] if rest.first().is_none_or(|word| !word.starts_with('-')) => Some(rest.join(" ")),
        ["printf", text] if !text.contains('%') => Some((*text).to_owned()),
        ["nproc"] => Some("2".to_owned()),
        _ => None,
    }
}

/// `$'…'`: the escapes of ANSI C.
fn decode_ansi_c(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut digits = |radix: u32, most: usize| {
            let mut value = 0u32;
            let mut seen = 0;
            while seen < most {
                let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else { break };
                value = value * radix + digit;
                chars.next();
                seen += 1;
            }
            (seen > 0).then(|| char::from_u32(value)).flatten()
        };
        if let Some(octal) = digits(8, 3) {
            out.push(octal);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('x') => out.extend(hex(&mut chars, 2)),
            Some('u') => out.extend(hex(&mut chars, 4)),
            Some('U') => out.extend(hex(&mut chars, 8)),
            Some('a' | 'b' | 'e' | 'E' | 'f' | 'v') => {}
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

fn hex(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, most: usize) -> Option<char> {
    let mut value = 0u32;
    for _ in 0..most {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
        value = value.wrapping_mul(16).wrapping_add(digit);
        chars.next();
    }
    char::from_u32(value)
}

/// `a{b,c}d` as `abd acd`, outside quotes, at most [`BRACE_WORDS_MAX`] words.
fn braces(text: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(word) = open.pop() {
        match first_brace(&word) {
            Some((start, end, parts)) if open.len() + done.len() + parts.len() <= BRACE_WORDS_MAX => {
                for part in parts.iter().rev() {
                    open.push(format!("{}{part}{}", &word[..start], &word[end + 1..]));
                }
            }
            Some(_) | None => done.push(word),
        }
    }
    done
}

/// Where the first brace list begins and ends, and its parts.
fn first_brace(word: &str) -> Option<(usize, usize, Vec<String>)> {
    let bytes = word.as_bytes();
    let (mut quote, mut at) = (0u8, 0);
    let mut starts: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut parameters = 0usize;
    let mut found = None;
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            b'\\' if quote != b'\'' => at += 1,
            b'\'' | b'"' if quote == 0 => quote = byte,
            _ if quote != 0 => quote = if byte == quote { 0 } else { quote },
            b'$' if bytes.get(at + 1).is_some_and(|next| matches!(next, b'{' | b'(')) => {
                parameters += 1;
                at += 1;
            }
            b'}' | b')' if parameters > 0 => parameters -= 1,
            b'{' if parameters == 0 => starts.push((at, Vec::new())),
            b',' if parameters == 0 => {
                if let Some((_, commas)) = starts.last_mut() {
                    commas.push(at);
                }
            }
            b'}' => {
                if let Some((start, commas)) = starts.pop()
                    && !commas.is_empty()
                {
                    let edges = std::iter::once(start).chain(commas.iter().copied());
                    let ends = commas.iter().copied().chain([at]);
                    let parts = edges.zip(ends).map(|(from, to)| word[from + 1..to].to_owned()).collect();
                    found = Some((start, at, parts));
                    // The outermost list first, as the shell does.
                    if starts.is_empty() {
                        return found;
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(word: &str) -> Vec<String> {
        let mut variables = Variables::default();
        variables.set("r", "rm");
        variables.set("opts", "-r -f");
        expand(word, &variables, &ParserOptions::default()).fields.into_iter().map(|field| field.text).collect()
    }

    #[test]
    fn a_word_is_what_the_shell_makes_of_it() {
        assert_eq!(texts("r''m"), ["rm"]);
        assert_eq!(texts("\\rm"), ["rm"]);
        assert_eq!(texts("\"r\"m"), ["rm"]);
        assert_eq!(texts("$'\\x72\\155'"), ["rm"]);
        assert_eq!(texts("$'\\u0072m'"), ["rm"]);
        assert_eq!(texts("$r"), ["rm"]);
        assert_eq!(texts("${r}x"), ["rmx"]);
        assert_eq!(texts("$opts"), ["-r", "-f"]);
        assert_eq!(texts("\"$opts\""), ["-r -f"]);
        assert_eq!(texts("rm${IFS}-rf${IFS}/"), ["rm", "-rf", "/"]);
        assert_eq!(texts("{rm,-rf,/}"), ["rm", "-rf", "/"]);
        assert_eq!(texts("src/{a,b{1,2}}.py"), ["src/a.py", "src/b1.py", "src/b2.py"]);
        assert_eq!(texts("'{a,b}'"), ["{a,b}"]);
        assert_eq!(texts("${x:-python}"), ["python"]);
        assert_eq!(texts("$(which python)"), ["python"]);
        assert_eq!(texts("$HOME/x"), ["~/x"]);
        assert_eq!(texts("$PROD_HOST"), ["$PROD_HOST"]);
    }
}
