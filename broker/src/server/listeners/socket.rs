//! One listening socket: its options, and the wait for a port that becomes free.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use std::{io, thread};

/// The answer to a port that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Further tries, for [`FREE_WITHIN`].
    Wait,
    /// The error.
    Fail,
}

/// Tries again while the port is in use: the kernel closes the sockets of an `io_uring` some milliseconds after the
/// process that had them is gone, so one that is started in place of a killed one comes early.
pub(crate) fn when_free<T>(busy: Busy, bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + FREE_WITHIN;
    loop {
        match bind() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && busy == Busy::Wait
                    && Instant::now() < until =>
            {
                thread::sleep(TRY_EVERY);
            }
            other => return other,
        }
    }
}

/// Whether nobody has the address and port, shared or not.
///
/// # Errors
/// Why it cannot be had.
pub(crate) fn probe(addr: SocketAddr) -> io::Result<()> {
    socket(addr)?.bind(&addr.into())
}

/// A socket that listens alone.
pub(crate) fn alone(addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    listening(socket(addr)?, addr, tcp_user_ms)
}

/// One of several with the same address.
pub(crate) fn shared(addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    listening(socket, addr, tcp_user_ms)
}

/// The address of a socket, with the port that the system picked.
pub(crate) fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The socket listens. It stays blocking: the shard's ring waits in it.
fn listening(socket: Socket, addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    // Both of these hold for what is accepted.
    socket.set_tcp_nodelay(true)?;
    if tcp_user_ms != 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(tcp_user_ms)))?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if matches!(addr.ip(), IpAddr::V6(ip) if ip.is_unspecified()) {
        // [::] takes clients of IPv4 too, whatever `net.ipv6.bindv6only` says.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Connections that the kernel completes while a shard is busy. The kernel's own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// The time for which a start waits for a port that is in use.
const FREE_WITHIN: Duration = Duration::from_secs(1);
pub(crate) const TRY_EVERY: Duration = Duration::from_millis(5);
