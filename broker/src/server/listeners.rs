//! Listening sockets: one a shard and address, sharing a port by `SO_REUSEPORT`. Those for other nodes have a port each
//! where the nodes follow etcd.

use super::Failure;
use broker_core::settings::{Cluster, Listen};
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

/// Binds what other nodes connect to, and writes the actual ports into the settings.
///
/// # Errors
/// [`Failure::Configuration`] when an address cannot be had.
pub(super) fn bind_inner(
    cluster: &mut Cluster,
    shards: usize,
    tcp_user_ms: u64,
) -> Result<Option<Bound>, Failure> {
    let Some(listen) = cluster.listen else {
        return Ok(None);
    };
    let bound = if cluster.etcd.is_on() {
        let (bound, ports) = bind_each(listen, cluster.inner(shards), tcp_user_ms)?;
        cluster.ports = ports;
        bound
    } else {
        bind_as("cluster.listen", listen, shards, tcp_user_ms)?
    };
    cluster.listen = Some(bound.addr);
    Ok(Some(bound))
}

/// A port for each shard, which it shares with nobody.
fn bind_each(
    listen: SocketAddr,
    addresses: Option<Vec<SocketAddr>>,
    tcp_user_ms: u64,
) -> Result<(Bound, Vec<u16>), Failure> {
    let key = "cluster.listen";
    let few = || Failure::Configuration(format!("{key} = {listen}: allowed a lower port"));
    let addresses = addresses.ok_or_else(few)?;
    let (mut sockets, mut ports) = (Vec::new(), Vec::new());
    for (shard, addr) in addresses.into_iter().enumerate() {
        let refused = |error: io::Error| {
            let remedy = remedy(key, addr, &error);
            let port = addr.port();
            Failure::Configuration(format!(
                "{key} = {listen}: port {port} of shard {shard}: {remedy}"
            ))
        };
        let socket = when_free(|| listening(socket(addr)?, addr, tcp_user_ms));
        let socket = socket.map_err(refused)?;
        let actual = socket.local_addr().map_err(refused)?.as_socket();
        ports.push(actual.map_or(0, |actual| actual.port()));
        sockets.push(OwnedFd::from(socket));
    }
    let mut addr = listen;
    addr.set_port(ports.first().copied().unwrap_or_default());
    Ok((Bound { addr, sockets }, ports))
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

/// One of several with the same address.
fn shared(addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    listening(socket, addr, tcp_user_ms)
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
    Ok(socket)
}

fn refusal(key: &str, addr: SocketAddr, error: &io::Error) -> Failure {
    let remedy = remedy(key, addr, error);
    Failure::Configuration(format!("{key} = {addr}: {remedy}"))
}

/// What is allowed where this address could not be had.
fn remedy(key: &str, addr: SocketAddr, error: &io::Error) -> String {
    let flags = match key {
        "listen" => "--listen URL, for each, chooses others",
        "cluster.listen" => "[cluster] listen chooses another",
        _ => "--admin ADDR:PORT chooses another",
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of std: three of its kinds have a remedy that we know"
    )]
    match error.kind() {
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
    }
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

    /// What other nodes connect to, where they agree in `etcd`.
    fn inner(listen: &str, etcd: &[&str]) -> Cluster {
        let mut cluster = Cluster {
            listen: Some(listen.parse().unwrap()),
            ..Cluster::default()
        };
        cluster.etcd.endpoints = etcd.iter().map(|url| (*url).into()).collect();
        cluster
    }

    #[test]
    fn with_etcd_each_shard_has_an_inner_port_of_its_own() {
        let mut cluster = inner("127.0.0.1:0", &["http://a:1"]);
        let bound = bind_inner(&mut cluster, 3, 0).unwrap().unwrap();
        assert_eq!(cluster.listen, Some(bound.addr));
        let listeners = bound.sockets.into_iter().map(TcpListener::from);
        let ports: Vec<u16> = listeners
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        assert_eq!(cluster.ports, ports);
        assert_eq!(bound.addr.port(), ports[0]);
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
    }

    #[test]
    fn with_a_fixed_map_all_shards_share_the_inner_port() {
        let mut cluster = inner("127.0.0.1:0", &[]);
        let bound = bind_inner(&mut cluster, 3, 0).unwrap().unwrap();
        assert_eq!((bound.sockets.len(), cluster.ports), (3, Vec::new()));
        for socket in bound.sockets {
            let listener = TcpListener::from(socket);
            assert_eq!(listener.local_addr().unwrap(), bound.addr);
        }
    }

    #[test]
    fn a_port_of_a_further_shard_that_is_in_use_is_refused() {
        // The second port behind it is free where it was picked: of some attempts one finds both.
        let (listen, taken) = (0..100)
            .find_map(|_| {
                let taken = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut listen = taken.local_addr().unwrap();
                listen.set_port(listen.port() - 2);
                TcpListener::bind(listen).ok().map(|_| (listen, taken))
            })
            .unwrap();
        let mut cluster = inner(&listen.to_string(), &["http://a:1"]);
        let Err(Failure::Configuration(text)) = bind_inner(&mut cluster, 2, 0) else {
            panic!("bound twice")
        };
        let port = taken.local_addr().unwrap().port();
        let begin =
            format!("cluster.listen = {listen}: port {port} of shard 1: the port is in use");
        assert!(text.starts_with(&begin), "{text}");
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
