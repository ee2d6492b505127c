//! Credentials in a text that is written or run.

/// The kind of the first credential in a text.
pub fn find(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '=');
    for word in text.split(|c: char| !is_word(c)) {
        if let Some(kind) = token(word) {
            return Some(kind);
        }
    }
    text.lines().find_map(line)
}

fn token(word: &str) -> Option<&'static str> {
    // A word such as KEY=AKIA… holds the token after its sign.
    let word = word.rsplit('=').find(|part| !part.is_empty()).unwrap_or(word);
    if word.len() < 16 || is_placeholder(word) {
        return None;
    }
    let upper = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if word.len() == 20 && (word.starts_with("AKIA") || word.starts_with("ASIA")) && upper(word) {
        return Some("an AWS access key");
    }
    let prefixes: [(&str, usize, &'static str); 14] = [
        ("ghp_", 30, "a GitHub token"),
        ("gho_", 30, "a GitHub token"),
        ("ghs_", 30, "a GitHub token"),
        ("github_pat_", 30, "a GitHub token"),
        ("glpat-", 20, "a GitLab token"),
        ("sk_live_", 20, "a Stripe key"),
        ("rk_live_", 20, "a Stripe key"),
        ("sk-", 30, "an API key"),
        ("xoxb-", 20, "a Slack token"),
        ("xoxp-", 20, "a Slack token"),
        ("AIza", 35, "a Google API key"),
        ("npm_", 30, "an npm token"),
        ("pypi-", 30, "a PyPI token"),
        ("SG.", 30, "a SendGrid key"),
    ];
    let known = prefixes.iter().find(|(prefix, least, _)| word.starts_with(prefix) && word.len() >= *least);
    if let Some((_, _, kind)) = known {
        return Some(kind);
    }
    (word.starts_with("eyJ") && word.len() > 60 && word.matches('.').count() == 2).then_some("a signed token")
}

/// A name that holds a secret, set to a text that is none of the usual stand-ins.
fn line(line: &str) -> Option<&'static str> {
    let lower = line.to_ascii_lowercase();
    const NAMES: [&str; 14] = [
        "password",
        "passwd",
        "secret_key",
        "secretkey",
        "api_key",
        "apikey",
        "access_key",
        "auth_token",
        "access_token",
        "private_key",
        "client_secret",
        "db_pass",
        "api_token",
        "secret",
    ];
    if let Some(at) = lower.find("://") {
        let rest = &line[at + 3..];
        let authority = rest.split(['/', ' ', '"', '\'', '?']).next().unwrap_or_default();
        if let Some((user, host)) = authority.rsplit_once('@')
            && let Some((_, password)) = user.split_once(':')
            && password.len() >= 4
            && !is_placeholder(password)
            && !["localhost", "127.0.0.1", "db", "postgres", "redis", "example.com"]
                .iter()
                .any(|h| host.split(':').next() == Some(h))
        {
            return Some("a password in a URL");
        }
    }
    let name = NAMES.iter().find_map(|name| lower.find(name).map(|at| at + name.len()))?;
    let rest = lower
        .get(name..)?
        .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '"' | '\'' | ' ' | ']'));
    let value = rest.strip_prefix(":=").or_else(|| rest.strip_prefix(['=', ':']))?.trim_start();
    if value.starts_with('=') {
        return None;
    }
    let (value, quoted) = match value.chars().next()? {
        quote @ ('"' | '\'') => (value[1..].split(quote).next()?, true),
        _ => (value.split([' ', ',', ';', ')']).next()?, false),
    };
    let plain = value.bytes().all(|b| b.is_ascii_graphic()) && !value.contains(['(', '{', '<', '$', '[']);
    let mixed = value.bytes().any(|b| b.is_ascii_digit()) || value.bytes().any(|b| b.is_ascii_punctuation());
    (plain && value.len() >= 8 && mixed && (quoted || !value.contains('.')) && !is_placeholder(value))
        .then_some("a password or key")
}

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    [
        "example",
        "changeme",
        "change-me",
        "change_me",
        "placeholder",
        "xxxx",
        "your",
        "dummy",
        "fake",
        "sample",
        "todo",
        "redacted",
        "****",
        "test",
        "insert",
        "replace",
        "env.",
        "environ",
        "getenv",
        "config.",
        "settings.",
        "process.",
        "vault",
        "secrets.",
        "none",
        "null",
        "undefined",
        "localhost",
        "00000000",
        "12345678",
        "abcdef",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_from_stand_ins() {
        let key = format!("AKIA{}", "Q7RT2MZK4WBN9XPL");
        assert_eq!(find(&format!("aws_access_key_id = {key}")), Some("an AWS access key"));
        assert_eq!(find("-----BEGIN RSA PRIVATE KEY-----\nMII"), Some("a private key"));
        assert_eq!(find("DB_PASSWORD = \"hunter2-Sommer!\""), Some("a password or key"));
        assert_eq!(find("url = postgres://app:s3cr3t9@db.corp.net/app"), Some("a password in a URL"));
        for text in [
            "password = os.environ['DB_PASSWORD']",
            "API_KEY=your-api-key-here",
            "secret: ${DB_SECRET}",
            "def check_password(password: str):",
            "password = ''",
            "postgres://app:changeme@localhost/x",
            "token = get_token()",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
