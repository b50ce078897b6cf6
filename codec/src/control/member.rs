//! Members of a JSON object with their types, read from simd-json's tape.

use crate::control::error::ApiError;
use crate::json::value::{Object, Value};
use simd_json::Tape;

/// A whole body, parsed. Exists for one call.
pub(crate) struct Body<'b>(Tape<'b>);

impl<'b> Body<'b> {
    /// Parses a body, changing it in place.
    pub(crate) fn parse(body: &'b mut [u8]) -> Result<Self, ApiError> {
        match simd_json::to_tape(body) {
            Ok(tape) => Ok(Self(tape)),
            // simd-json's own words are about its inside, and its position counts from a block's start.
            Err(_) => Err(ApiError::serialization(
                "The request body is not valid JSON.",
            )),
        }
    }

    /// The object that the body has to be.
    pub(crate) fn object<'t>(&'t self) -> Result<Object<'t, 'b>, ApiError> {
        Value::of(&self.0.0)
            .object()
            .ok_or_else(|| ApiError::serialization("The request body must be a JSON object."))
    }
}

impl<'t, 'b> Object<'t, 'b> {
    /// The members of these names, each possibly absent (also when `null`); others are ignored.
    ///
    /// # Errors
    /// A name that occurs twice.
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

/// A member by name, absent or of any type.
#[derive(Clone, Copy)]
pub(crate) struct Member<'t, 'b> {
    name: &'static str,
    value: Option<Value<'t, 'b>>,
}

impl<'t, 'b> Member<'t, 'b> {
    /// The member's string.
    pub(crate) fn text(self) -> Result<Option<&'b str>, ApiError> {
        self.typed("a string", Value::text)
    }

    /// The member's integer.
    pub(crate) fn integer(self) -> Result<Option<i64>, ApiError> {
        self.typed("an integer", Value::integer)
    }

    /// The member's object.
    pub(crate) fn object(self) -> Result<Option<Object<'t, 'b>>, ApiError> {
        self.typed("an object", Value::object)
    }

    /// The member's list of strings.
    pub(crate) fn texts(self) -> Result<Option<Vec<&'b str>>, ApiError> {
        self.typed("a list of strings", |value| {
            value.items()?.map(Value::text).collect()
        })
    }

    /// The member's list of objects.
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
