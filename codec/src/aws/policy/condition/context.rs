//! The values of a request's condition keys.

use crate::aws::policy::condition::key::{Key, KeyName};
use crate::calendar;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// The values of a request's condition keys.
///
/// A policy asks for those that it names and for no others, so that a value may be made when it is asked for.
pub trait Context {
    /// A value of a key, counted from 0 where a request may have several; [`Value::Absent`] behind the last one.
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_>;
}

/// No values.
impl Context for () {
    fn value(&self, _: Key<'_>, _: usize) -> Value<'_> {
        Value::Absent
    }
}

/// A value of a condition key.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// The request has none.
    Absent,
    /// It is not known here: the decision is [`crate::aws::policy::condition::Decision::Open`] where it depends on it.
    Unknown,
    /// Nobody can tell which value counts, if any: a statement that depends on it allows nothing, and denies what it
    /// would deny by some value.
    Lost,
    /// A text. One of more than [`VALUE_BYTES_MAX`] bytes is as absent.
    Text(&'a str),
    /// A text that was made for the question.
    Made(ShortText),
    /// A number.
    Number(u64),
    /// A date, in seconds since 1970 UTC.
    Date(u64),
    /// Yes or no.
    Flag(bool),
    /// An address.
    Address(IpAddr),
}

impl<'a> Value<'a> {
    /// A text, if there is one.
    #[must_use]
    pub fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

impl Value<'_> {
    /// The value as policies write it; `None` where there is none. `room` is for one that is no text yet.
    pub(crate) fn text<'t>(&'t self, room: &'t mut ShortText) -> Option<&'t str> {
        let written = match self {
            Value::Absent | Value::Unknown | Value::Lost => return None,
            Value::Text(text) => return Some(text),
            Value::Made(text) => return Some(text.as_str()),
            Value::Number(number) => write!(room, "{number}"),
            Value::Date(seconds) => write_date(room, *seconds),
            Value::Flag(flag) => write!(room, "{flag}"),
            Value::Address(address) => write!(room, "{address}"),
        };
        written.ok().map(|()| room.as_str())
    }
}

/// All values of a request.
pub(crate) struct Values<'a> {
    client_id: Option<&'a str>,
    context: &'a dyn Context,
    /// Values that were asked for are known elsewhere.
    elsewhere: Cell<bool>,
    /// Values that were asked for are lost.
    lost: Cell<bool>,
}

impl<'a> Values<'a> {
    pub(crate) const fn new(client_id: Option<&'a str>, context: &'a dyn Context) -> Self {
        Self {
            client_id,
            context,
            elsewhere: Cell::new(false),
            lost: Cell::new(false),
        }
    }

    /// Forgets which values were asked for.
    pub(crate) fn begin(&self) {
        self.elsewhere.set(false);
        self.lost.set(false);
    }

    /// Whether values that were asked for since [`Self::begin`] are lost, and none is known elsewhere.
    pub(crate) fn only_lost(&self) -> bool {
        self.lost.get() && !self.elsewhere.get()
    }

    /// A value of a key. One that is longer than any may be is absent; one that is lost is as unknown.
    pub(crate) fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        let value = match (key.name, nth) {
            (KeyName::ClientId, 0) => self.client_id.map_or(Value::Absent, Value::Text),
            (KeyName::ClientId | KeyName::Foreign, _) => Value::Absent,
            _ => self.context.value(key, nth),
        };
        match value {
            Value::Text(text) if text.len() > VALUE_BYTES_MAX => Value::Absent,
            Value::Unknown => {
                self.elsewhere.set(true);
                Value::Unknown
            }
            Value::Lost => {
                self.lost.set(true);
                Value::Unknown
            }
            Value::Absent
            | Value::Text(_)
            | Value::Made(_)
            | Value::Number(_)
            | Value::Date(_)
            | Value::Flag(_)
            | Value::Address(_) => value,
        }
    }
}

/// `2026-11-22T05:54:46Z`. Source: IAM User Guide, "Condition operators", dates.
fn write_date(out: &mut ShortText, seconds: u64) -> fmt::Result {
    let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2);
    let (year, month, day) = calendar::civil(days.min(DAYS_MAX));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    )
}

/// A text of up to [`ShortText::BYTES_MAX`] bytes in place. Writing more is an error.
#[derive(Clone, Copy)]
pub struct ShortText {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl ShortText {
    /// Longest text in bytes: the ARN of a session of a role.
    pub const BYTES_MAX: usize = 192;

    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES_MAX],
            length: 0,
        }
    }

    /// The text of these parts; as far as it has room, which callers see to.
    #[must_use]
    pub fn of(parts: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        let written = text.write_fmt(parts);
        debug_assert!(
            written.is_ok(),
            "the text is longer than {}",
            Self::BYTES_MAX
        );
        text
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let from = usize::from(self.length);
        let end = from + text.len();
        let room = self.bytes.get_mut(from..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = u8::try_from(end).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

/// Longest text of a value in bytes: 256 characters of a tag. A longer one would take more work than one of an ARN.
pub const VALUE_BYTES_MAX: usize = crate::limits::ARN_BYTES;

/// The last day of the year 9999.
const DAYS_MAX: i64 = 2_932_896;
