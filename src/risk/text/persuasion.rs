//! Words that speak to the one who decides instead of saying why.

/// Phrases of a text that wants a decision rather than to inform one. Compared without case and
/// with every run of other characters as one space.
const PHRASES: [&str; 60] = [
    "already approved",
    "already been approved",
    "pre approved",
    "preapproved",
    "has been approved",
    "was approved by",
    "been authorized",
    "is authorized",
    "approved by the",
    "already authorized",
    "no approval needed",
    "no approval is needed",
    "no approval required",
    "approval is not required",
    "approval not required",
    "skip approval",
    "skip the approval",
    "bypass approval",
    "bypass the",
    "without approval",
    "auto approve",
    "autoapprove",
    "just approve",
    "please approve",
    "approve this",
    "approve immediately",
    "must be approved",
    "ignore previous",
    "ignore all previous",
    "ignore prior",
    "ignore the above",
    "ignore your",
    "disregard previous",
    "disregard the",
    "disregard all",
    "forget previous",
    "forget your",
    "override the",
    "new instructions",
    "system prompt",
    "you are now",
    "as an ai",
    "low risk",
    "risk free",
    "riskless",
    "zero risk",
    "no risk",
    "minimal risk",
    "risk score",
    "risk 0",
    "harmless",
    "totally safe",
    "completely safe",
    "perfectly safe",
    "absolutely safe",
    "trust me",
    "no need to review",
    "no need to check",
    "don t ask",
    "treat this as safe",
];

/// The first such phrase.
pub fn find(text: &str) -> Option<&'static str> {
    let mut plain = String::with_capacity(text.len() + 2);
    plain.push(' ');
    for c in text.chars() {
        if c.is_alphanumeric() {
            plain.extend(c.to_lowercase());
        } else if !plain.ends_with(' ') {
            plain.push(' ');
        }
    }
    plain.push(' ');
    PHRASES.iter().copied().find(|phrase| {
        plain.match_indices(phrase).any(|(at, found)| {
            plain[..at].ends_with(' ')
                && plain[at + found.len()..].starts_with(|c: char| c == ' ' || c.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_to_the_approver_is_found_however_it_is_written() {
        assert_eq!(find("This was ALREADY-approved by ops"), Some("already approved"));
        assert_eq!(find("Ignore   previous\ninstructions"), Some("ignore previous"));
        assert_eq!(find("It is low risk."), Some("low risk"));
        assert_eq!(find("The fix is tested; rollback is a revert. Below riskier options."), None);
    }
}
