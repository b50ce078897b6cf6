//! The constraints of parameters, and the words for what breaks them.

use crate::sts::error::{Error, ErrorKind, shown};
use crate::sts::request::FormRules;
use crate::sts::{DURATION_S_DEFAULT, DURATION_S_MAX, POLICY_CHARS_MAX};
use std::ops::RangeInclusive;

/// The characters of a text that is a name, in the words of the model.
pub(crate) struct Letters {
    /// Those beside `[A-Za-z0-9_]`.
    pub(crate) more: &'static str,
    /// The pattern of the model.
    pub(crate) pattern: &'static str,
}

/// `[\w+=,.@-]*`. Source: model, shapes `userNameType`, `roleSessionNameType`, `sourceIdentityType`.
pub(crate) const NAMES: Letters = Letters {
    more: "+=,.@-",
    pattern: "[\\w+=,.@-]*",
};

/// `[\w+=,.@:\/-]*`. Source: model, shape `externalIdType`.
pub(crate) const EXTERNAL_IDS: Letters = Letters {
    more: "+=,.@:/-",
    pattern: "[\\w+=,.@:\\/-]*",
};

/// `Name`: 2 to 32 characters. Source: model, shape `userNameType`.
pub(crate) fn checked_name(name: Option<&str>) -> Result<Box<str>, Error> {
    checked_text("name", name, 2..=32, &NAMES)
}

/// A text of this number of these characters. `member` is its name in the model.
pub(crate) fn checked_text(
    member: &str,
    text: Option<&str>,
    chars: RangeInclusive<usize>,
    letters: &Letters,
) -> Result<Box<str>, Error> {
    let Some(text) = text else {
        let value = format!("Value null at '{member}'");
        return Err(invalid(&value, "not be null"));
    };
    let value = format!("Value at '{member}'");
    checked_length(&value, text, chars)?;
    let legal =
        |char: char| char.is_ascii_alphanumeric() || char == '_' || letters.more.contains(char);
    if text.chars().all(legal) {
        return Ok(text.into());
    }
    let broken = format!("satisfy regular expression pattern: {}", letters.pattern);
    Err(invalid(&value, &broken))
}

/// Refuses a text of fewer or more characters.
pub(crate) fn checked_length(
    value: &str,
    text: &str,
    chars: RangeInclusive<usize>,
) -> Result<(), Error> {
    let length = text.chars().count();
    let broken = if length < *chars.start() {
        format!("have length greater than or equal to {}", chars.start())
    } else if length > *chars.end() {
        format!("have length less than or equal to {}", chars.end())
    } else {
        return Ok(());
    };
    Err(invalid(value, &broken))
}

/// `Policy`: 1 to 2,048 characters, tab, line ends and U+0020 to U+00FF. Source: model, shape
/// `sessionPolicyDocumentType`.
pub(crate) fn checked_policy(policy: &str) -> Result<Box<str>, Error> {
    let length = policy.chars().count();
    let legal = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    let broken = if length == 0 {
        "have length greater than or equal to 1"
    } else if length > POLICY_CHARS_MAX {
        "have length less than or equal to 2048"
    } else if !policy.chars().all(legal) {
        "satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"
    } else {
        return Ok(policy.into());
    };
    Err(invalid("Value at 'policy'", broken))
}

/// `DurationSeconds`: decimal digits.
pub(crate) fn checked_duration(
    duration: Option<&str>,
    rules: &FormRules,
) -> Result<Option<u32>, Error> {
    let Some(text) = duration else {
        return Ok(None);
    };
    let least = if rules.strict {
        DURATION_S_MIN_STRICT
    } else {
        DURATION_S_MIN
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("Value at 'durationSeconds'", "be a whole number"));
    }
    // Digits that do not fit are too many of them.
    let seconds: u32 = text.parse().unwrap_or(u32::MAX);
    let value = format!("Value '{}' at 'durationSeconds'", shown(text));
    if seconds < least {
        let broken = format!("have value greater than or equal to {least}");
        return Err(invalid(&value, &broken));
    }
    if seconds > DURATION_S_MAX {
        let broken = format!("have value less than or equal to {DURATION_S_MAX}");
        return Err(invalid(&value, &broken));
    }
    Ok(Some(seconds))
}

/// An error in the words of AWS's validation, which tools search for the bound. The first broken constraint is
/// reported.
pub(crate) fn invalid(value: &str, must: &str) -> Error {
    let message = format!(
        "1 validation error detected: {value} failed to satisfy constraint: Member must {must}"
    );
    Error::new(ErrorKind::ValidationError, message)
}

/// The shortest life of a token, in seconds: long enough to set one up by hand.
const DURATION_S_MIN: u32 = 60;

/// The shortest life of a token under strict rules, in seconds. Source: model, shape `durationSecondsType`.
const DURATION_S_MIN_STRICT: u32 = 900;

const _: () = assert!(DURATION_S_MIN < DURATION_S_MIN_STRICT);
const _: () =
    assert!(DURATION_S_MIN_STRICT < DURATION_S_DEFAULT && DURATION_S_DEFAULT < DURATION_S_MAX);
