//! Headers: read and written.

use crate::proxy::frame::{CALL_ENTRY_BYTES, TYPE_CALL, TYPE_UPGRADE};
use crate::proxy::{
    AHEAD_BYTES, CallEntry, ENTRY_BYTES, Entry, FIXED_BYTES, HEADER_BYTES_MAX, Link, MAC_BYTES,
    MAC_LENGTH, ProxyHeader, SIGNATURE, TCP4, TCP6, TYPE_LISTENER, TYPE_MAC, VERSION_AND_COMMAND,
    VERSION_AND_LOCAL, ahead,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

// Writing a header.

/// Appends the header, signed for `link`.
pub fn write(out: &mut Vec<u8>, header: &ProxyHeader, link: &Link<'_>) {
    write_with(out, header, None, link);
}

/// Appends the header of a call on a connection that is kept, signed for `link`. Its request follows.
pub fn write_call(out: &mut Vec<u8>, header: &ProxyHeader, call: CallEntry, link: &Link<'_>) {
    write_with(out, header, Some(Entry::Call(call)), link);
}

/// Appends the header of an upgrade of this number on a connection that is kept behind it, signed for `link`. The
/// client's bytes follow, up to the end of its close frame.
pub fn write_upgrade(out: &mut Vec<u8>, header: &ProxyHeader, number: u64, link: &Link<'_>) {
    write_with(out, header, Some(Entry::Upgrade(number)), link);
}

fn write_with(out: &mut Vec<u8>, header: &ProxyHeader, entry: Option<Entry>, link: &Link<'_>) {
    let begin = out.len();
    out.extend_from_slice(&SIGNATURE);
    out.push(VERSION_AND_COMMAND);
    let addresses = match (header.source, header.destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            out.extend_from_slice(&[TCP4, 0, 0]);
            [source.ip().octets(), destination.ip().octets()].concat()
        }
        // A header has one family: IPv4 goes as a mapped address beside IPv6.
        (source, destination) => {
            out.extend_from_slice(&[TCP6, 0, 0]);
            [mapped(source), mapped(destination)].concat()
        }
    };
    out.extend_from_slice(&addresses);
    out.extend_from_slice(&header.source.port().to_be_bytes());
    out.extend_from_slice(&header.destination.port().to_be_bytes());
    let [high, low] = header.listener.to_be_bytes();
    out.extend_from_slice(&[TYPE_LISTENER, 0, 3, high, low, u8::from(header.tls)]);
    match entry {
        None => {}
        Some(Entry::Call(call)) => {
            out.extend_from_slice(&[TYPE_CALL, 0, CALL_ENTRY_BYTES]);
            out.extend_from_slice(&call.to_bytes());
        }
        Some(Entry::Upgrade(number)) => {
            out.extend_from_slice(&[TYPE_UPGRADE, 0, 8]);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    out.extend_from_slice(&[TYPE_MAC, 0, MAC_LENGTH]);
    let rest = out.len() - begin - FIXED_BYTES + MAC_BYTES;
    let rest = u16::try_from(rest).expect("addresses and three entries");
    let place = begin + FIXED_BYTES - size_of_val(&rest);
    if let Some(length) = out.get_mut(place..place + size_of_val(&rest)) {
        length.copy_from_slice(&rest.to_be_bytes());
    }
    let mac = link.key.sign(link, out.get(begin..).unwrap_or_default());
    out.extend_from_slice(mac.as_ref());
}

/// Appends the frame of a connection that is opened ahead, signed for `link`.
pub fn write_ahead(out: &mut Vec<u8>, link: &Link<'_>) {
    let frame = ahead();
    out.extend_from_slice(&frame);
    out.extend_from_slice(link.key.sign(link, &frame).as_ref());
}

fn mapped(address: SocketAddr) -> [u8; 16] {
    let address: Ipv6Addr = match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.octets()
}
