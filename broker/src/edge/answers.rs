//! Answers to connections that no session serves: no room, or no TLS where it is spoken.

use crate::edge::limits::REFUSAL_READ_BYTES;
use broker_core::address_shares::canonical;
use broker_core::time::Wall;
use codec::http::{ErrorHead, Meta, respond};
use socket2::SockRef;
use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;

/// The whole answer to a connection that there is no room for.
pub(crate) fn unavailable(out: &mut Vec<u8>, wall: Wall, request_id: &str) {
    let body = br#"{"message":"The service has no room for another connection."}"#;
    refusal(out, wall, request_id, 503, "ServiceUnavailable", body);
}

/// The answer to a request of plain HTTP on a TLS listener.
pub(crate) fn not_tls(out: &mut Vec<u8>, wall: Wall, request_id: &str) {
    let body = br#"{"message":"This port speaks TLS: the URL begins with https:// or wss://."}"#;
    refusal(out, wall, request_id, 400, "InvalidArgumentException", body);
}

fn refusal(
    out: &mut Vec<u8>,
    wall: Wall,
    request_id: &str,
    status: u16,
    error_type: &str,
    body: &[u8],
) {
    let meta = Meta {
        wall_ms: wall.0,
        request_id,
        close: true,
    };
    respond(
        out,
        &meta,
        status,
        Some(ErrorHead {
            error_type,
            why: None,
            retry_after_s: None,
        }),
        "application/json",
        body,
    );
}

/// Reads what has come, so that closing does not reset the connection under the answer; then writes it and says the
/// end. Never waits.
pub(crate) fn say_and_close(socket: &OwnedFd, answer: &[u8]) {
    let socket = SockRef::from(socket);
    let _ = socket.set_nonblocking(true);
    let mut scratch = [0; 1024];
    for _ in 0..REFUSAL_READ_BYTES / scratch.len() {
        if !matches!((&*socket).read(&mut scratch), Ok(1..)) {
            break;
        }
    }
    // A client that does not get it had left, or gets a reset, which means the same.
    let _ = socket.send_with_flags(answer, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    let _ = socket.shutdown(Shutdown::Write);
}

/// The other end, as it is shown and counted: a client of IPv4 at a listener on `[::]` is one of IPv4.
pub(crate) fn remote(socket: &OwnedFd) -> Option<SocketAddr> {
    let remote = SockRef::from(socket).peer_addr().ok()?.as_socket()?;
    Some(canonical(remote))
}
