//! The names of the rules a message can break.

use std::fmt;

/// A rule of the protocol page. Its text is what `quarantine/<name>.reason.json` and a
/// `refused:` response carry, so it is stable: clients match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    NotUtf8,
    NotJson,
    DuplicateName,
    LoneSurrogate,
    NulCharacter,
    IntegerRange,
    NumberOverflow,
    Nesting,
    Canonical,
    NotAnObject,
    UnknownOrMissingField,
    FieldValue,
    ReservedKey,
    TooLarge,
    NotRegularFile,
    FileName,
    Stale,
    Replay,
    ActionHash,
    RiskFloor,
    TargetExists,
    TooManyPending,
    UnknownRequest,
    WrongState,
    Signature,
    UnknownApprover,
    ClaimSecret,
    OutcomeHash,
    Chain,
}

impl Rule {
    /// The rule's stable text.
    pub const fn text(self) -> &'static str {
        match self {
            Rule::NotUtf8 => "not UTF-8",
            Rule::NotJson => "not JSON",
            Rule::DuplicateName => "duplicate name after unescaping",
            Rule::LoneSurrogate => "lone surrogate",
            Rule::NulCharacter => "U+0000",
            Rule::IntegerRange => "integer beyond 2^53-1",
            Rule::NumberOverflow => "number overflows",
            Rule::Nesting => "nesting over 32",
            Rule::Canonical => "canonical",
            Rule::NotAnObject => "not an object",
            Rule::UnknownOrMissingField => "unknown or missing field",
            Rule::FieldValue => "field value",
            Rule::ReservedKey => "reserved key",
            Rule::TooLarge => "too large",
            Rule::NotRegularFile => "not a regular file",
            Rule::FileName => "file name is not its id",
            Rule::Stale => "stale",
            Rule::Replay => "replay",
            Rule::ActionHash => "action_hash",
            Rule::RiskFloor => "risk floor",
            Rule::TargetExists => "a different file is already published",
            Rule::TooManyPending => "too many pending",
            Rule::UnknownRequest => "unknown request",
            Rule::WrongState => "wrong state",
            Rule::Signature => "signature",
            Rule::UnknownApprover => "unknown approver",
            Rule::ClaimSecret => "claim secret",
            Rule::OutcomeHash => "outcome hash",
            Rule::Chain => "refused by the contract",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a message was refused: the rule it broke and what exactly was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Refusal {
    pub rule: Rule,
    pub detail: String,
}

impl Refusal {
    pub fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Refusal { rule, detail: detail.into() }
    }
}
