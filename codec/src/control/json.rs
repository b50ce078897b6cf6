//! Reads typed members from simd-json's tape, and writes JSON members.

use crate::control::ApiError;
use crate::json::{Object, Value, write::string};
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
            // simd-json's own error messages are not returned: they describe its internals, and their positions are
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
    /// Returns the members with these names and ignores all others. `null` counts as absent. A duplicate is an error.
    pub(crate) fn members<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Member<'t, 'b>; N], ApiError> {
        let mut found = names.map(|name| (false, Member { name, value: None }));
        for (key, value) in self.entries() {
            let Some((seen, member)) = found.iter_mut().find(|(_, member)| member.name == key)
            else {
                continue;
            };
            if std::mem::replace(seen, true) {
                return Err(ApiError::serialization(format!("{key} is given twice.")));
            }
            member.value = Some(value).filter(|value| !value.is_null());
        }
        Ok(found.map(|(_, member)| member))
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

    /// Returns the members of an object with these names. See [`Object::members`].
    pub(crate) fn members<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<Option<[Self; N]>, ApiError> {
        let object = self.typed("an object", Value::object)?;
        object.map(|object| object.members(names)).transpose()
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

pub(crate) fn member(out: &mut Vec<u8>, before: u8, name: &str) {
    out.push(before);
    string(out, name);
    out.push(b':');
}

/// Appends an object whose values are strings.
pub(crate) fn strings(out: &mut Vec<u8>, members: &[(&str, &str)]) {
    out.push(b'{');
    separated(out, members, |out, (name, value)| {
        string(out, name);
        out.push(b':');
        string(out, value);
    });
    out.push(b'}');
}

/// Appends an array.
pub(crate) fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    out.push(b'[');
    separated(out, items, write);
    out.push(b']');
}

fn separated<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, item);
    }
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
