//! `*`, `?` and `|`: as much of a pattern language as a rule needs, in linear space and no regex.

/// Whether the text is one of the alternatives `a|b*|c`, without regard to ASCII case.
pub fn matches(pattern: &str, text: &str) -> bool {
    pattern.split('|').any(|alternative| one(alternative.as_bytes(), text.as_bytes()))
}

/// Matches with one point to go back to, so the time is at most the product of both lengths.
fn one(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || c.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("prod*|live", "Production") && matches("prod*|live", "LIVE"));
        assert!(matches("*:latest", "app:latest") && !matches("*:latest", "app:latest2"));
        assert!(matches("a*b*c", "aXbXbXc") && !matches("a*b*c", "aXcXb"));
        assert!(matches("", "") && !matches("", "x") && matches("*", "") && matches("?", "x") && !matches("?", ""));
        assert!(!matches(&"*a".repeat(30), &"b".repeat(60_000)));
    }
}
