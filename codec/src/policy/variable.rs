//! Policy variables: `${KEY}` and `${KEY, 'default'}`. The forms `${*}`, `${?}` and `${$}` stand for the literal
//! characters `*`, `?` and `$`.
//!
//! ```text
//! in a policy   VARIABLE | key | 0, or length of the default + 1, and the default      LITERAL | * or ?
//! expanded      MANY and ONE for the wildcards; all other bytes are literal
//! ```
//! Values are always literal and never patterns. The wildcards of an expanded text are represented by bytes that cannot
//! occur in a value. Source: IAM User Guide, "IAM policy elements: Variables and tags".

use crate::limits::ARN_BYTES;
use crate::policy::context::{Key, KeyName, ShortText, Value, Values};
use crate::policy::pattern::{MANY, ONE, push};
use crate::policy::rules::excerpt;
use memchr::{memchr, memchr2, memchr3};
use std::cell::Cell;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A resource pattern. The values of its variables must not contain `/` or `:`, which would add parts to the ARN.
    Resource,
    Pattern,
    Text,
}

/// How many more variables a document may contain. `None` if the document's version does not support variables.
pub(crate) struct Allowance(Cell<Option<usize>>);

impl Allowance {
    pub(crate) const fn new(variables: Option<usize>) -> Self {
        Self(Cell::new(variables))
    }

    fn take(&self) -> Result<(), &'static str> {
        let left = self.0.get().unwrap_or_default().checked_sub(1);
        let left = left.ok_or("the document has more variables than it may")?;
        self.0.set(Some(left));
        Ok(())
    }
}

pub(crate) enum Expanded<'s> {
    Text(&'s [u8]),
    /// The expanded text is longer than any text that it could match.
    TooLong,
    /// A variable has no value, or a variable in a resource has a value that contains `/` or `:`.
    WithoutValue,
    /// The value of a variable is not known on this shard.
    Unknown,
}

pub(crate) type ExpansionRoom = [u8; EXPANDED_BYTES_MAX];

/// Appends text to a serialized policy. Returns whether the text must be expanded before use, because it contains
/// variables or literal wildcard characters.
pub(crate) fn write_text(
    out: &mut Vec<u8>,
    text: &str,
    place: Place,
    allowance: &Allowance,
) -> Result<bool, String> {
    let (mut rest, mut has_markers) = (text, false);
    let plain = |out: &mut Vec<u8>, text: &str| match place {
        Place::Resource | Place::Pattern => push(out, text),
        Place::Text => out.extend(text.bytes()),
    };
    while let Some((before, behind)) = rest.split_once("${") {
        plain(out, before);
        let wrong = |rule: &str| format!("variable in {}: {rule}", excerpt(text));
        if allowance.0.get().is_none() {
            return Err(wrong("the document must have \"Version\": \"2012-10-17\""));
        }
        let (inside, default, behind) = split(behind).ok_or_else(|| wrong(FORM))?;
        rest = behind;
        match (inside, default) {
            ("$", None) => out.push(b'$'),
            ("*" | "?", None) => {
                has_markers = true;
                out.push(LITERAL);
                out.extend(inside.bytes());
            }
            (inside, default) => {
                allowance.take().map_err(wrong)?;
                has_markers = true;
                let key = Key::parse(inside).map_err(|rule| wrong(&rule))?;
                if key.has_several() && key.name != KeyName::Claim {
                    return Err(wrong("must be a key of one value"));
                }
                out.push(VARIABLE);
                key.write(out);
                let default = default.map(str::as_bytes);
                let length = default.map_or(0, |default| default.len() + 1);
                let length = u8::try_from(length).ok().filter(|it| *it < LITERAL);
                out.push(length.ok_or_else(|| wrong("a default must be at most 240 bytes"))?);
                out.extend(default.unwrap_or_default());
            }
        }
    }
    plain(out, rest);
    Ok(has_markers)
}

fn split(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find(['}', ','])?;
    let (inside, rest) = text.split_at_checked(end)?;
    if let Some(behind) = rest.strip_prefix('}') {
        return Some((inside.trim(), None, behind));
    }
    let default = rest.strip_prefix(',')?.trim_start().strip_prefix('\'')?;
    let (default, behind) = default.split_once('\'')?;
    let behind = behind.trim_start().strip_prefix('}')?;
    Some((inside.trim(), Some(default), behind))
}

/// Calls `seen` with the key of each variable and with whether the variable has a default. Returns `None` if the text
/// was not produced by [`write_text`].
pub(crate) fn each_variable(text: &[u8], mut seen: impl FnMut(Key<'_>, bool)) -> Option<()> {
    let mut rest = text;
    while let Some(marker) = memchr(VARIABLE, rest) {
        let (key, default, behind) = read(rest.get(marker + 1..)?)?;
        seen(key, default.is_some());
        rest = behind;
    }
    Some(())
}

type Variable<'a> = (Key<'a>, Option<&'a [u8]>, &'a [u8]);

fn read(bytes: &[u8]) -> Option<Variable<'_>> {
    let (key, rest) = Key::read(bytes)?;
    let (&length, rest) = rest.split_first()?;
    let (default, rest) = rest.split_at_checked(usize::from(length).saturating_sub(1))?;
    Some((key, (length > 0).then_some(default), rest))
}

pub(crate) fn has_markers(text: &[u8]) -> bool {
    memchr2(VARIABLE, LITERAL, text).is_some()
}

pub(crate) fn is_first(text: &[u8]) -> bool {
    text.first() == Some(&VARIABLE)
}

pub(crate) fn split_part(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = match byte {
            b':' => return Some((text.get(..text.len() - rest.len())?, behind)),
            VARIABLE => read(behind)?.2,
            _ => behind,
        };
    }
    None
}

/// Expands the variables in a text. Adds one step to `steps` for each variable, and one for every 64 bytes of the
/// result.
pub(crate) fn expand<'s>(
    text: &[u8],
    place: Place,
    values: &Values<'_>,
    scratch: &'s mut ExpansionRoom,
    steps: &mut u64,
) -> Expanded<'s> {
    let mut out = Writer {
        scratch,
        length: 0,
        literal: 0,
    };
    let mut rest = text;
    let mut unknown = false;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let taken = match byte {
            VARIABLE => {
                *steps += 1;
                let Some((key, default, behind)) = read(rest) else {
                    return Expanded::WithoutValue;
                };
                rest = behind;
                let value = values.value(key, 0);
                let mut room = ShortText::new();
                let value = match value.text(&mut room) {
                    Some(value) => {
                        let adds_part = place == Place::Resource && value.contains(['/', ':']);
                        (!adds_part).then_some(value.as_bytes())
                    }
                    None if matches!(value, Value::Unknown) => {
                        unknown = true;
                        Some(&[][..])
                    }
                    None => default,
                };
                let Some(value) = value else {
                    return Expanded::WithoutValue;
                };
                out.literals(value)
            }
            LITERAL => {
                let literal = rest.split_first();
                literal.is_some_and(|(byte, behind)| {
                    rest = behind;
                    out.literals(&[*byte])
                })
            }
            b'*' if place != Place::Text => out.wildcard(MANY),
            b'?' if place != Place::Text => out.wildcard(ONE),
            _ => {
                let end = memchr3(VARIABLE, b'*', b'?', rest).unwrap_or(rest.len());
                let run = rest.get(..end).unwrap_or_default();
                let end = memchr(LITERAL, run).unwrap_or(end);
                let (run, behind) = rest.split_at_checked(end).unwrap_or_default();
                rest = behind;
                out.literals(&[byte]) && out.literals(run)
            }
        };
        if !taken {
            return Expanded::TooLong;
        }
    }
    let Writer {
        scratch, length, ..
    } = out;
    *steps += length.div_ceil(64) as u64;
    if unknown {
        return Expanded::Unknown;
    }
    Expanded::Text(scratch.get(..length).unwrap_or_default())
}

struct Writer<'s> {
    scratch: &'s mut ExpansionRoom,
    length: usize,
    literal: usize,
}

impl Writer<'_> {
    /// Appends literal bytes. Returns `false` if the text becomes longer than any text that it could match.
    fn literals(&mut self, bytes: &[u8]) -> bool {
        self.literal += bytes.len();
        let end = self.length + bytes.len();
        let room = self.scratch.get_mut(self.length..end);
        let Some(room) = room.filter(|_| self.literal <= ARN_BYTES) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.length = end;
        true
    }

    fn wildcard(&mut self, byte: u8) -> bool {
        if byte == ONE {
            return self.literals(&[ONE]);
        }
        let before = self
            .length
            .checked_sub(1)
            .and_then(|last| self.scratch.get(last));
        if before == Some(&MANY) {
            return true;
        }
        let Some(room) = self.scratch.get_mut(self.length) else {
            return false;
        };
        *room = MANY;
        self.length += 1;
        true
    }
}

const FORM: &str = "must be ${KEY}, ${KEY, 'default'}, ${*}, ${?} or ${$}";

/// Marks the start of a variable. This byte never occurs in UTF-8.
const VARIABLE: u8 = 0xFE;

/// Marks a literal character that would otherwise be a wildcard. This byte never occurs in UTF-8.
const LITERAL: u8 = 0xFD;

/// Maximum length of an expanded text in bytes: [`ARN_BYTES`] literal bytes, with a [`MANY`] before and after each of
/// them.
const EXPANDED_BYTES_MAX: usize = 2 * ARN_BYTES + 1;
