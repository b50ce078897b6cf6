//! Reading a header.

use crate::proxy::kept::{TYPE_CALL, TYPE_UPGRADE};
use crate::proxy::{
    AHEAD_BYTES, CallEntry, ENTRY_BYTES, Entry, FIXED_BYTES, HEADER_BYTES_MAX, Link, MAC_BYTES,
    ProxyHeader, SIGNATURE, TCP4, TCP6, TYPE_LISTENER, TYPE_MAC, VERSION_AND_COMMAND,
    VERSION_AND_LOCAL, ahead,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use strum::IntoStaticStr;

/// Why a connection to an inner listener is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ProxyError {
    /// The first bytes are not those of the PROXY protocol, version 2.
    NotProxy,
    /// The header is for no client over TCP: a check of a load balancer, or another kind of socket.
    Unsupported,
    /// It is longer than [`HEADER_BYTES_MAX`].
    TooLong,
    /// An entry exceeds the header, comes twice, or is missing.
    Malformed,
    /// It has no HMAC, or a wrong one: another secret, cluster, node or connection.
    Forged,
}

/// A header, and what it introduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The client.
    pub header: ProxyHeader,
    /// The call or upgrade on a connection that is kept; `None` for all that the client sends from here on.
    pub entry: Option<Entry>,
    /// Bytes of the header.
    pub length: usize,
}

/// The header at the beginning of `bytes` and what it introduces; `None` while it is not whole.
///
/// Entries of other types are skipped, as the specification wants; the HMAC covers them, and must be the last.
///
/// # Errors
/// The header was not written for this connection. The fault is found at the first wrong byte, at the length or at the
/// end of the header.
pub fn introduced(bytes: &[u8], link: &Link<'_>) -> Result<Option<Introduction>, ProxyError> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes.get(..begun) != SIGNATURE.get(..begun) {
        return Err(ProxyError::NotProxy);
    }
    if bytes
        .get(12)
        .is_some_and(|byte| byte >> 4 != VERSION_AND_COMMAND >> 4)
    {
        return Err(ProxyError::NotProxy);
    }
    if bytes
        .get(12)
        .is_some_and(|byte| *byte != VERSION_AND_COMMAND)
    {
        return Err(ProxyError::Unsupported);
    }
    if bytes
        .get(13)
        .is_some_and(|family| ![TCP4, TCP6].contains(family))
    {
        return Err(ProxyError::Unsupported);
    }
    let Some(&[.., family, high, low]) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    let rest = header.get(FIXED_BYTES..).unwrap_or_default();
    let (source, destination, entries) = addresses(family, rest).ok_or(ProxyError::Malformed)?;
    let Entries {
        listener,
        tls,
        entry,
    } = authenticated(header, entries, link)?;
    let header = ProxyHeader {
        source,
        destination,
        listener,
        tls,
    };
    Ok(Some(Introduction {
        header,
        entry,
        length,
    }))
}

/// Whether `bytes` begin as the frame of a connection that is opened ahead, and not as a client's header.
#[must_use]
pub fn is_ahead(bytes: &[u8]) -> bool {
    bytes.get(SIGNATURE.len()) == Some(&VERSION_AND_LOCAL)
}

/// The length of the frame of a connection that is opened ahead, at the beginning of `bytes`; `None` while it is not
/// whole.
///
/// # Errors
/// The frame was not written for this connection.
pub fn parse_ahead(bytes: &[u8], link: &Link<'_>) -> Result<Option<usize>, ProxyError> {
    let fixed = ahead();
    let signature = bytes.len().min(SIGNATURE.len());
    if bytes.get(..signature) != fixed.get(..signature) {
        return Err(ProxyError::NotProxy);
    }
    let begun = bytes.len().min(fixed.len());
    if bytes.get(..begun) != fixed.get(..begun) {
        return Err(ProxyError::Malformed);
    }
    let Some((frame, mac)) = bytes
        .get(..AHEAD_BYTES)
        .and_then(|frame| frame.split_at_checked(fixed.len()))
    else {
        return Ok(None);
    };
    if !link.key.verifies(link, frame, mac) {
        return Err(ProxyError::Forged);
    }
    Ok(Some(AHEAD_BYTES))
}

/// Both addresses, and the entries behind them.
fn addresses(family: u8, rest: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8])> {
    let (source, destination, rest) = if family == TCP4 {
        let (source, rest) = rest.split_first_chunk::<4>()?;
        let (destination, rest) = rest.split_first_chunk::<4>()?;
        let of = |bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into();
        (of(source), of(destination), rest)
    } else {
        let (source, rest) = rest.split_first_chunk::<16>()?;
        let (destination, rest) = rest.split_first_chunk::<16>()?;
        let of = |bytes: &[u8; 16]| Ipv6Addr::from(*bytes).into();
        (of(source), of(destination), rest)
    };
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, rest) = rest.split_first_chunk::<2>()?;
    Some((
        SocketAddr::new(source, u16::from_be_bytes(*source_port)),
        SocketAddr::new(destination, u16::from_be_bytes(*destination_port)),
        rest,
    ))
}

/// The entries of a header that are read.
struct Entries {
    listener: u16,
    tls: bool,
    entry: Option<Entry>,
}

/// Its entries, if the last one is the HMAC of all before it.
fn authenticated(
    header: &[u8],
    mut entries: &[u8],
    link: &Link<'_>,
) -> Result<Entries, ProxyError> {
    let mut found = None;
    let mut entry = None;
    let mut mac = None;
    while !entries.is_empty() {
        if mac.is_some() {
            return Err(ProxyError::Malformed); // nothing follows what covers all
        }
        let (kind, value, rest) = first(entries).ok_or(ProxyError::Malformed)?;
        entries = rest;
        match (kind, value) {
            (TYPE_LISTENER, &[high, low, tls @ (0 | 1)]) if found.is_none() => {
                found = Some((u16::from_be_bytes([high, low]), tls == 1));
            }
            (TYPE_CALL, value) if entry.is_none() => {
                let call = CallEntry::of_bytes(value).ok_or(ProxyError::Malformed)?;
                entry = Some(Entry::Call(call));
            }
            (TYPE_UPGRADE, value) if entry.is_none() => {
                let number = value.try_into().map_err(|_| ProxyError::Malformed)?;
                entry = Some(Entry::Upgrade(u64::from_be_bytes(number)));
            }
            (TYPE_LISTENER | TYPE_CALL | TYPE_UPGRADE, _) => return Err(ProxyError::Malformed),
            (TYPE_MAC, value) => mac = Some(value),
            (_, _) => {}
        }
    }
    let mac = mac
        .filter(|mac| mac.len() == MAC_BYTES)
        .ok_or(ProxyError::Forged)?;
    let signed = header.get(..header.len() - MAC_BYTES).unwrap_or_default();
    if !link.key.verifies(link, signed, mac) {
        return Err(ProxyError::Forged);
    }
    let (listener, tls) = found.ok_or(ProxyError::Malformed)?;
    Ok(Entries {
        listener,
        tls,
        entry,
    })
}

/// The first entry: its type, its value, and what follows.
fn first(entries: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, low], rest) = entries.split_first_chunk::<ENTRY_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = rest.split_at_checked(length)?;
    Some((kind, value, rest))
}
