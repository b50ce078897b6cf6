//! Encoding of data that nodes and programs of Heliograph write for each other: `postcard`, by `serde`'s derives.
//!
//! A type is its encoding: fields follow each other without names, a variant is its number. So an encoding is extended
//! by a variant at the end of an `enum`; anything else is another encoding, which its first bytes must announce.
//!
//! Only owners of the cluster's secret write such bytes, but they are read as if anybody did: their length is checked
//! first, nothing may be left over, and no memory is reserved beyond a named bound. Texts and byte strings are slices
//! of the input, so its length bounds them; a list may take far more memory than bytes, so each has its own bound
//! ([`at_most`]).

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// Encodes a value.
#[must_use]
pub fn write(value: &impl Serialize) -> Vec<u8> {
    append(Vec::new(), value)
}

/// Appends an encoded value to bytes.
///
/// # Panics
/// If a sequence does not know its length: none here is such.
#[must_use]
pub fn append(to: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, to).expect("a sequence knows its length, and memory does not end")
}

/// Decodes a value from at most `most` bytes; `None` if there are more, or they are not exactly one value.
#[must_use]
pub fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8], most: usize) -> Option<T> {
    if bytes.len() > most {
        return None;
    }
    let (value, rest) = first(bytes)?;
    rest.is_empty().then_some(value)
}

/// Decodes the value at the start of bytes; returns it with the bytes after it.
#[must_use]
pub fn first<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Option<(T, &'b [u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// Bytes, copied at once: `serde` encodes slices element by element.
pub mod bytes {
    use crate::wire::{Deserialize, Deserializer};
    use serde::Serializer;

    /// Implements `serialize_with`.
    ///
    /// # Errors
    /// As the encoding.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes.as_ref())
    }

    /// Implements `deserialize_with`.
    ///
    /// # Errors
    /// The bytes end too early.
    pub fn deserialize<'b, D: Deserializer<'b>>(from: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(from).map(Into::into)
    }
}

/// A list of at most `MOST` elements, for `deserialize_with`. Its count is checked before memory is reserved.
///
/// # Errors
/// The count is higher, or higher than the bytes allow; or an element is invalid.
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
            // `postcard` returns the count, or nothing if fewer bytes than that are left.
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
