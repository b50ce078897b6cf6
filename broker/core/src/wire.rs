//! The encoding of data that Heliograph's nodes and programs exchange: `postcard`, for types that derive `serde`'s
//! traits.
//!
//! A type's definition determines its encoding. Fields are encoded in order, without names, and a variant is encoded as
//! its number. The only compatible extension is to append a variant to an `enum`. Any other change produces a different
//! encoding, which the first bytes must announce.
//!
//! Such bytes come only from processes that know the cluster's secret, but the decoder does not trust them. It first
//! checks the length, rejects trailing bytes, and limits the memory that it reserves. Strings and byte strings are
//! slices of the input, so they cannot be longer than the input. A list may take far more memory than its encoding, so
//! every list has its own limit ([`at_most`]).

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// Encodes a value.
#[must_use]
pub fn write(value: &impl Serialize) -> Vec<u8> {
    append(Vec::new(), value)
}

/// Appends an encoded value to a buffer.
///
/// # Panics
/// Panics if a sequence does not know its length in advance, which does not occur in any type used here.
#[must_use]
pub fn append(to: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, to).expect("a sequence knows its length, and memory does not end")
}

/// Decodes a value from at most `most` bytes. Returns `None` if the input is longer or is not exactly one value.
#[must_use]
pub fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8], most: usize) -> Option<T> {
    if bytes.len() > most {
        return None;
    }
    let (value, rest) = first(bytes)?;
    rest.is_empty().then_some(value)
}

/// Decodes the value at the start of the input, and returns it with the remaining bytes.
#[must_use]
pub fn first<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Option<(T, &'b [u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// Encodes a byte string in one piece. By default, `serde` encodes a slice element by element.
pub mod bytes {
    use crate::wire::{Deserialize, Deserializer};
    use serde::Serializer;

    /// Serializes a byte string, for `serialize_with`.
    ///
    /// # Errors
    /// Returns the error of the serializer.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes.as_ref())
    }

    /// Deserializes a byte string, for `deserialize_with`.
    ///
    /// # Errors
    /// Fails if the input ends too early.
    pub fn deserialize<'b, D: Deserializer<'b>>(from: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(from).map(Into::into)
    }
}

/// Deserializes a list of at most `MOST` elements, for `deserialize_with`. Checks the number of elements before it
/// reserves memory.
///
/// # Errors
/// Fails if there are more elements than the limit or the remaining bytes allow, or if an element is invalid.
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
            // `postcard` returns the count, or `None` if fewer bytes than that remain.
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
