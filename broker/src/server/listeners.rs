//! Listening sockets: one a shard and address, sharing a port by `SO_REUSEPORT`.

use super::Failure;
use broker_core::settings::Listen;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

/// One configured listener: its actual address and a socket for each shard.
#[derive(Debug)]
pub(super) struct Bound {
    /// With the port that the system picked, if it was 0.
    pub(super) addr: SocketAddr,
    /// One a shard, listening.
    pub(super) sockets: Vec<OwnedFd>,
}

/// Binds `listen` once a shard.
///
/// # Errors
/// [`Failure::Configuration`] when the address cannot be had.
pub(super) fn bind(listen: &Listen, shards: usize, tcp_user_ms: u64) -> Result<Bound, Failure> {
    bind_as("listen", listen.addr, shards, tcp_user_ms)
}

/// Binds the listener of other nodes once a shard.
///
/// # Errors
/// [`Failure::Configuration`] when the address cannot be had.
pub(super) fn bind_inner(
    addr: SocketAddr,
    shards: usize,
    tcp_user_ms: u64,
) -> Result<Bound, Failure> {
    bind_as("cluster.listen", addr, shards, tcp_user_ms)
}

fn bind_as(
    key: &str,
    mut addr: SocketAddr,
    shards: usize,
    tcp_user_ms: u64,
) -> Result<Bound, Failure> {
    let asked = addr;
    let refused = |error: io::Error| refusal(key, asked, &error);
    // A port that is shared already would let us in as well, and then clients would reach either process by chance.
    if addr.port() != 0 {
        when_free(|| socket(addr)?.bind(&addr.into())).map_err(refused)?;
    }
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = shared(addr, tcp_user_ms).map_err(refused)?;
        if addr.port() == 0 {
            let actual = socket.local_addr().map_err(refused)?.as_socket();
            addr.set_port(actual.map_or(0, |actual| actual.port()));
        }
        sockets.push(OwnedFd::from(socket));
    }
    Ok(Bound { addr, sockets })
}

/// Closes what was bound for more than `shards`. The port was not announced yet.
pub(super) fn keep(bound: &mut [Bound], shards: usize) {
    for bound in bound {
        bound.sockets.truncate(shards);
    }
}

/// Binds the admin listener, for the side thread's runtime.
///
/// # Errors
/// [`Failure::Configuration`] when the address cannot be had.
pub(super) fn bind_admin(addr: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = when_free(|| TcpListener::bind(addr))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|error| refusal("admin.listen", addr, &error))
}

/// Tries again while the port is in use, for [`FREE_WITHIN`]: the kernel closes the sockets of an `io_uring` some
/// milliseconds after the process that had them is gone, so one that is started in place of a killed one comes early.
fn when_free<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + FREE_WITHIN;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                thread::sleep(TRY_EVERY);
            }
            other => return other,
        }
    }
}

/// A socket that stays blocking: the shard's ring waits in it.
fn shared(addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
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
    Ok(socket)
}

fn refusal(key: &str, addr: SocketAddr, error: &io::Error) -> Failure {
    let flags = match key {
        "listen" => "--listen URL, for each, chooses others",
        "cluster.listen" => "[cluster] listen chooses another",
        _ => "--admin ADDR:PORT chooses another",
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of std: three of its kinds have a remedy that we know"
    )]
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "the port is in use, allowed a free one, or port 0 for any (`ss -ltnp sport = :{}` shows who has it; \
                 {flags})",
                addr.port()
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            "allowed an address that this machine has (`ip address`)".into()
        }
        io::ErrorKind::PermissionDenied => {
            "allowed a port from 1024, or the capability CAP_NET_BIND_SERVICE".into()
        }
        _ => format!("allowed an address that can be listened on: {error}"),
    };
    Failure::Configuration(format!("{key} = {addr}: {remedy}"))
}

/// Connections that the kernel completes while a shard is busy. The kernel's own bound is `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long a start waits for a port that is in use.
const FREE_WITHIN: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::settings::Scheme;
    use std::net::TcpStream;

    fn any() -> Listen {
        Listen {
            scheme: Scheme::Http,
            addr: "127.0.0.1:0".parse().unwrap(),
        }
    }

    #[test]
    fn all_shards_share_the_port_that_was_picked() {
        let bound = bind(&any(), 3, 30_000).unwrap();
        assert_ne!(bound.addr.port(), 0);
        let listeners: Vec<_> = bound.sockets.into_iter().map(TcpListener::from).collect();
        assert!(
            listeners
                .iter()
                .all(|listener| listener.local_addr().unwrap() == bound.addr)
        );
        TcpStream::connect(bound.addr).unwrap();
    }

    #[test]
    fn what_is_set_on_a_listener_holds_for_what_it_accepts() {
        let bound = bind(&any(), 1, 12_000).unwrap();
        let listener = TcpListener::from(bound.sockets.into_iter().next().unwrap());
        let _client = TcpStream::connect(bound.addr).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(12))
        );
    }

    #[test]
    fn a_port_that_another_process_shares_is_refused() {
        let bound = bind(&any(), 1, 0).unwrap();
        let again = Listen {
            addr: bound.addr,
            ..any()
        };
        let Err(Failure::Configuration(text)) = bind(&again, 1, 0) else {
            panic!("bound twice")
        };
        assert!(
            text.starts_with(&format!(
                "listen = {}: the port is in use, allowed a free one",
                bound.addr
            )),
            "{text}"
        );
        assert!(bind_admin(bound.addr).is_err());
    }

    #[test]
    fn a_port_that_becomes_free_soon_is_waited_for() {
        let bound = bind(&any(), 1, 0).unwrap();
        let again = Listen {
            addr: bound.addr,
            ..any()
        };
        let before = thread::spawn(move || {
            thread::sleep(10 * TRY_EVERY);
            drop(bound);
        });
        bind(&again, 1, 0).unwrap();
        before.join().unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let Err(Failure::Configuration(text)) = bind(
            &Listen {
                addr: "192.0.2.1:0".parse().unwrap(),
                ..any()
            },
            1,
            0,
        ) else {
            panic!("bound an address for documentation")
        };
        assert!(
            text.contains("allowed an address that this machine has"),
            "{text}"
        );
    }
}
