//! The form of what our own nodes and programs write for each other: `postcard`, by `serde`'s derives.
//!
//! A type is its form: fields follow each other without names, a variant is its number. So a form is changed by a
//! variant at the end of an `enum`, or it is another form, which its first bytes must say.
//!
//! Nobody but an owner of the cluster's secret writes such bytes, and they are read as if anybody did: their length is
//! checked first, nothing may be left over, and no memory is reserved for more than a named bound. A text or a run of
//! bytes is cut out of what is there, so the length of all bounds it; a list may take far more memory than bytes, so
//! each has its own bound ([`at_most`]).

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// A value as bytes.
#[must_use]
pub fn write(value: &impl Serialize) -> Vec<u8> {
    append(Vec::new(), value)
}

/// Bytes, and behind them a value.
///
/// # Panics
/// A sequence does not know its length: none of ours is such.
#[must_use]
pub fn append(to: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, to).expect("a sequence knows its length, and memory does not end")
}

/// The value that at most `most` bytes are; `None` if they are more, none, or more than one value.
#[must_use]
pub fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8], most: usize) -> Option<T> {
    if bytes.len() > most {
        return None;
    }
    let (value, rest) = first(bytes)?;
    rest.is_empty().then_some(value)
}

/// The value that bytes begin with, and those behind it.
#[must_use]
pub fn first<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Option<(T, &'b [u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// Bytes, copied at once: `serde` has slices element by element.
pub mod bytes {
    use crate::wire::{Deserialize, Deserializer};
    use serde::Serializer;

    /// As `serialize_with` wants it.
    ///
    /// # Errors
    /// Those of the form.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes.as_ref())
    }

    /// As `deserialize_with` wants it.
    ///
    /// # Errors
    /// They end too early.
    pub fn deserialize<'b, D: Deserializer<'b>>(from: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(from).map(Into::into)
    }
}

/// A list of at most `MOST`, as `deserialize_with` wants it. Its count is looked at before memory is reserved.
///
/// # Errors
/// It says that it is longer, or than there are bytes for; or one of it is none.
pub fn at_most<'b, D, T, L, const MOST: usize>(from: D) -> Result<L, D::Error>
where
    D: Deserializer<'b>,
    T: Deserialize<'b>,
    L: From<Vec<T>>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'b, T: Deserialize<'b>, const MOST: usize> Visitor<'b> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            // `postcard` says the count, or nothing if fewer bytes than that are left.
            let count = list.size_hint().filter(|count| *count <= MOST);
            let count = count.ok_or_else(|| A::Error::custom("too long a list"))?;
            let mut all = Vec::with_capacity(count);
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }

    let list = from.deserialize_seq(List::<T, MOST>(PhantomData))?;
    Ok(list.into())
}

#[cfg(test)]
mod tests;
