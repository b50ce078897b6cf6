//! Writing a header.

use crate::proxy::kept::{CALL_ENTRY_BYTES, TYPE_CALL, TYPE_UPGRADE};
use crate::proxy::{
    CallEntry, Entry, FIXED_BYTES, Link, MAC_BYTES, MAC_LENGTH, ProxyHeader, SIGNATURE, TCP4, TCP6,
    TYPE_LISTENER, TYPE_MAC, VERSION_AND_COMMAND, ahead,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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
