//! Reads typed JSON members from the tape of simd-json, and writes members.

use crate::control::ApiError;
use crate::json::{Object, Value};
use simd_json::Tape;

pub(crate) struct Body<'b>(Tape<'b>);

impl<'b> Body<'b> {
    pub(crate) fn parse(body: &'b mut [u8]) -> Result<Self, ApiError> {
        let is_gzip = body.starts_with(&[0x1f, 0x8b]);
        match simd_json::to_tape(body) {
            Ok(tape) => Ok(Self(tape)),
            Err(_) if is_gzip => Err(ApiError::serialization(
                "The request body is compressed (gzip): it must be JSON as it is, without Content-Encoding.",
            )),
            // simd-json's own error messages are not returned: they describe its internals, and positions in them are
            // relative to a block.
            Err(_) => Err(ApiError::serialization(
                "The request body is not valid JSON.",
            )),
        }
    }

    pub(crate) fn object<'t>(&'t self) -> Result<Object<'t, 'b>, ApiError> {
        Value::of(&self.0.0)
            .object()
            .ok_or_else(|| ApiError::serialization("The request body must be a JSON object."))
    }
}

impl<'t, 'b> Object<'t, 'b> {
    /// Returns the members with these names and ignores all others. A `null` counts as absent. A duplicate is an error.
    pub(crate) fn members<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Member<'t, 'b>; N], ApiError> {
        let mut found = names.map(|name| NamedMember {
            seen: false,
            member: Member { name, value: None },
        });
        for (key, value) in self.entries() {
            let Some(slot) = found.iter_mut().find(|slot| slot.member.name == key) else {
                continue;
            };
            if slot.seen {
                return Err(ApiError::serialization(format!(
                    "{} is given twice.",
                    slot.member.name
                )));
            }
            slot.seen = true;
            slot.member.value = Some(value).filter(|value| !value.is_null());
        }
        Ok(found.map(|slot| slot.member))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Member<'t, 'b> {
    name: &'static str,
    value: Option<Value<'t, 'b>>,
}

impl<'t, 'b> Member<'t, 'b> {
    pub(crate) fn text(self) -> Result<Option<&'b str>, ApiError> {
        self.typed("a string", Value::text)
    }

    pub(crate) fn integer(self) -> Result<Option<i64>, ApiError> {
        self.typed("an integer", Value::integer)
    }

    pub(crate) fn object(self) -> Result<Option<Object<'t, 'b>>, ApiError> {
        self.typed("an object", Value::object)
    }

    pub(crate) fn texts(self) -> Result<Option<Vec<&'b str>>, ApiError> {
        self.typed("a list of strings", |value| {
            value.items()?.map(Value::text).collect()
        })
    }

    pub(crate) fn objects(self) -> Result<Option<Vec<Object<'t, 'b>>>, ApiError> {
        self.typed("a list of objects", |value| {
            value.items()?.map(Value::object).collect()
        })
    }

    fn typed<T>(
        self,
        what: &str,
        read: impl Fn(Value<'t, 'b>) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let typed = read(value)
            .ok_or_else(|| ApiError::serialization(format!("{} must be {what}.", self.name)))?;
        Ok(Some(typed))
    }
}

struct NamedMember<'t, 'b> {
    seen: bool,
    member: Member<'t, 'b>,
}

pub(crate) fn member(out: &mut Vec<u8>, before: u8, name: &'static str) {
    out.push(before);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Appends a time in milliseconds since the epoch as seconds with three decimals, such as `1767323075.123`. This is the
/// timestamp format of AWS's JSON protocols; botocore and the JavaScript SDK parse it as a number.
pub(crate) fn epoch_seconds(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(format!("{}.{:03}", ms / 1000, ms % 1000).as_bytes());
}

#[cfg(test)]
mod write_tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_have_three_decimals() {
        for (ms, seconds) in [
            (0, "0.000"),
            (7, "0.007"),
            (1_767_323_075_123, "1767323075.123"),
            (1_000, "1.000"),
            (10_050, "10.050"),
        ] {
            assert_eq!(written(|out| epoch_seconds(out, ms)), seconds);
        }
        let found = written(|out| epoch_seconds(out, u64::MAX));
        assert_eq!(found, "18446744073709551.615");
    }
}
