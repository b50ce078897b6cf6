//! Encoding of string lists in policies: a two-byte length, followed by the entries, which are separated by
//! [`BETWEEN`].

use memchr::memchr;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List<'p>(&'p [u8]);

impl<'p> List<'p> {
    pub(crate) const fn new(entries: &'p [u8]) -> Self {
        Self(entries)
    }

    pub(crate) fn read(bytes: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (list, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        Some((Self(list), rest))
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) -> Result<(), String> {
        let length = u16::try_from(self.0.len());
        let length = length.map_err(|_| format!("a list: must be at most {} bytes", u16::MAX))?;
        out.extend(length.to_be_bytes());
        out.extend(self.0);
        Ok(())
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn bytes(self) -> &'p [u8] {
        self.0
    }

    pub(crate) fn only(self) -> Option<&'p [u8]> {
        (!self.is_empty() && memchr(BETWEEN, self.0).is_none()).then_some(self.0)
    }

    pub(crate) fn entries(self) -> impl Iterator<Item = &'p [u8]> {
        let mut rest = Some(self.0);
        std::iter::from_fn(move || {
            let list = rest?;
            let end = memchr(BETWEEN, list);
            rest = end.and_then(|end| list.get(end + 1..));
            list.get(..end.unwrap_or(list.len()))
        })
    }
}

/// Starts another entry by appending the separator. The caller must then append the entry's bytes.
pub(crate) fn begin_entry(list: &mut Vec<u8>) {
    list.push(BETWEEN);
}

/// Separates the entries of a list. This byte never occurs in UTF-8.
const BETWEEN: u8 = 0xFF;
