//! Results over a limit are cut, and say how much is missing.

/// A text within a limit; what was left out is named at its end.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let kept = &text[..boundary_below(text, bytes_max)];
    format!("{kept}\n[guardrail: {} more bytes are not shown]", text.len() - kept.len())
}

/// The end of a text within a limit, where the last lines matter most.
pub(super) fn tail(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut start = text.len() - bytes_max;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("[guardrail: {start} earlier bytes are not shown]\n{}", &text[start..])
}

/// The largest character boundary that is not above `at`.
pub(super) fn boundary_below(text: &str, at: usize) -> usize {
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_much_is_missing_and_cuts_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöü", 3), "ä\n[guardrail: 4 more bytes are not shown]");
        assert_eq!(tail("abc", 3), "abc");
        assert_eq!(tail("äöü", 3), "[guardrail: 4 earlier bytes are not shown]\nü");
    }
}
