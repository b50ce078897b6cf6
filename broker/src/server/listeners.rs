//! Listening sockets: one a shard and address, sharing a port by `SO_REUSEPORT`. Those for other nodes have a port each
//! where the nodes follow etcd.
//!
//! In reading order: this page; `socket` (options); `twin` (the second loopback address of a development server);
//! `owner` (who has a port that is in use).

mod owner;
mod socket;
pub(crate) mod twin;

use crate::failure::Failure;
use broker_core::settings::{Cluster, Settings};
use socket::{Busy, alone, local, probe, shared, when_free};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use twin::{Both, bind_both, is_wanted as has_twin, is_without_ipv6};

/// One configured listener: its actual address and a socket for each shard.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the port that the system picked, if it was 0.
    pub(crate) addr: SocketAddr,
    /// One a shard, listening.
    pub(crate) sockets: Vec<OwnedFd>,
    /// The same on ::1, for a listener of a development server on 127.0.0.1; else empty.
    pub(crate) twins: Vec<OwnedFd>,
}

/// Binds a client listener of these settings once a shard.
///
/// # Errors
/// [`Failure::Configuration`] when the address cannot be had.
pub(crate) fn bind(settings: &Settings, addr: SocketAddr) -> Result<Bound, Failure> {
    let tcp_user_ms = settings.timeouts.tcp_user_ms;
    if !has_twin(settings, addr) {
        return bind_as("listen", addr, settings.shards, tcp_user_ms);
    }
    let both = bind_both(addr, |addr, busy| {
        bind_all(addr, busy, settings.shards, tcp_user_ms)
    });
    let Both { addr, first, twin } =
        both.map_err(|(addr, error)| refusal("listen", addr, &error))?;
    Ok(Bound {
        addr,
        sockets: first,
        twins: twin.unwrap_or_default(),
    })
}

/// Binds what other nodes connect to, and writes the actual ports into the settings.
///
/// # Errors
/// [`Failure::Configuration`] when an address cannot be had.
pub(crate) fn bind_inner(
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
    let few = || Failure::Configuration(format!("{key} = {listen}: must have a lower port"));
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
        let socket = when_free(Busy::Wait, || alone(addr, tcp_user_ms)).map_err(refused)?;
        ports.push(local(&socket).map_err(refused)?.port());
        sockets.push(OwnedFd::from(socket));
    }
    let mut addr = listen;
    addr.set_port(ports.first().copied().unwrap_or_default());
    let bound = Bound {
        addr,
        sockets,
        twins: Vec::new(),
    };
    Ok((bound, ports))
}

fn bind_as(key: &str, addr: SocketAddr, shards: usize, tcp_user_ms: u64) -> Result<Bound, Failure> {
    let (addr, sockets) = bind_all(addr, Busy::Wait, shards, tcp_user_ms)
        .map_err(|error| refusal(key, addr, &error))?;
    Ok(Bound {
        addr,
        sockets,
        twins: Vec::new(),
    })
}

/// A socket for each shard, and their actual address.
fn bind_all(
    mut addr: SocketAddr,
    busy: Busy,
    shards: usize,
    tcp_user_ms: u64,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    // A port that is shared already would let us in as well, and then clients would reach either process by chance.
    if addr.port() != 0 {
        when_free(busy, || probe(addr))?;
    }
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = shared(addr, tcp_user_ms)?;
        addr = local(&socket)?;
        sockets.push(OwnedFd::from(socket));
    }
    Ok((addr, sockets))
}

/// Closes what was bound for more than `shards`. The port was not announced yet.
pub(crate) fn keep(bound: &mut [Bound], shards: usize) {
    for bound in bound {
        bound.sockets.truncate(shards);
        bound.twins.truncate(shards);
    }
}

/// Binds the admin listener, for the side thread's runtime, and its twin on ::1 under `--dev`. The first has the
/// address that the settings name.
///
/// # Errors
/// [`Failure::Configuration`] when the address cannot be had.
pub(crate) fn bind_admin(
    settings: &Settings,
    addr: SocketAddr,
) -> Result<(SocketAddr, Vec<TcpListener>), Failure> {
    let bind = |addr, busy| {
        let socket = when_free(busy, || alone(addr, 0))?;
        socket.set_nonblocking(true)?;
        Ok((local(&socket)?, TcpListener::from(socket)))
    };
    let refused = |(addr, error): (_, io::Error)| refusal("admin.listen", addr, &error);
    if !has_twin(settings, addr) {
        let (actual, listener) = bind(addr, Busy::Wait).map_err(|error| refused((addr, error)))?;
        return Ok((actual, vec![listener]));
    }
    let Both { addr, first, twin } = bind_both(addr, bind).map_err(refused)?;
    Ok((addr, std::iter::once(first).chain(twin).collect()))
}

fn refusal(key: &str, addr: SocketAddr, error: &io::Error) -> Failure {
    let remedy = remedy(key, addr, error);
    Failure::Configuration(format!("{key} = {addr}: {remedy}"))
}

/// The cause for which an address could not be had, and the remedy.
fn remedy(key: &str, addr: SocketAddr, error: &io::Error) -> String {
    let flags = match key {
        "listen" => "--listen URL, once for each listener, chooses others",
        "cluster.listen" => "[cluster] listen chooses another",
        _ => "--admin ADDR:PORT chooses another",
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of std: three of its kinds have a remedy that we know"
    )]
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner::of(addr) {
            Some(owner) => format!(
                "the port is in use: choose a free one, or port 0 for any ({flags}): {owner} has it"
            ),
            None => format!(
                "the port is in use: choose a free one, or port 0 for any (`ss -ltnp sport = :{}` shows who has it; \
                 {flags})",
                addr.port()
            ),
        },
        io::ErrorKind::AddrNotAvailable => {
            "must be an address of this machine (`ip address` lists them)".into()
        }
        io::ErrorKind::PermissionDenied => {
            "must have a port from 1024, unless the broker has the capability CAP_NET_BIND_SERVICE"
                .into()
        }
        _ if is_without_ipv6(error) => {
            "must be an IPv4 address, such as 0.0.0.0: IPv6 is off here".into()
        }
        _ => format!("must be an address that the broker can listen on: {error}"),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::server::listeners::socket::TRY_EVERY;
    use broker_core::settings::Profile;
    use socket2::Socket;
    use std::net::TcpStream;
    use std::thread;
    use std::time::Duration;

    /// Of this many shards, without `--dev`.
    fn shards(shards: usize, tcp_user_ms: u64) -> Settings {
        let mut settings = Settings::new(Profile::Default, false);
        settings.shards = shards;
        settings.timeouts.tcp_user_ms = tcp_user_ms;
        settings
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn all_shards_share_the_port_that_was_picked() {
        let bound = bind(&shards(3, 30_000), any()).unwrap();
        assert_ne!(bound.addr.port(), 0);
        let listeners: Vec<_> = bound.sockets.into_iter().map(TcpListener::from).collect();
        assert!(
            listeners
                .iter()
                .all(|listener| listener.local_addr().unwrap() == bound.addr)
        );
        TcpStream::connect(bound.addr).unwrap();
    }

    /// The listener for other nodes; they agree in `etcd`, or follow a fixed map where that is empty.
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
        let bound = bind(&shards(1, 12_000), any()).unwrap();
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
        let bound = bind(&shards(1, 0), any()).unwrap();
        let again = bound.addr;
        let Err(Failure::Configuration(text)) = bind(&shards(1, 0), again) else {
            panic!("bound twice")
        };
        assert!(
            text.starts_with(&format!(
                "listen = {}: the port is in use: choose a free one",
                bound.addr
            )),
            "{text}"
        );
        assert!(bind_admin(&shards(1, 0), bound.addr).is_err());
    }

    #[test]
    fn a_port_that_becomes_free_soon_is_waited_for() {
        let bound = bind(&shards(1, 0), any()).unwrap();
        let again = bound.addr;
        let before = thread::spawn(move || {
            thread::sleep(10 * TRY_EVERY);
            drop(bound);
        });
        bind(&shards(1, 0), again).unwrap();
        before.join().unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let Err(Failure::Configuration(text)) = bind(&shards(1, 0), "192.0.2.1:0".parse().unwrap())
        else {
            panic!("bound an address for documentation")
        };
        assert!(
            text.contains("must be an address of this machine"),
            "{text}"
        );
    }

    #[test]
    fn the_refusal_of_a_port_in_use_ends_with_who_has_it() {
        let bound = bind(&shards(1, 0), any()).unwrap();
        let Err(Failure::Configuration(text)) = bind(&shards(1, 0), bound.addr) else {
            panic!("bound twice")
        };
        let end = format!(" (pid {}) has it", std::process::id());
        assert!(text.ends_with(&end) && !text.contains("ss -ltnp"), "{text}");
    }

    #[test]
    fn a_development_server_listens_on_both_loopback_addresses_at_one_port() {
        if TcpListener::bind("[::1]:0").is_err() {
            return eprintln!("skipped: this machine has no ::1");
        }
        let mut settings = shards(2, 0);
        settings.dev = true;
        let bound = bind(&settings, any()).unwrap();
        let (addr, admins) = bind_admin(&settings, any()).unwrap();
        let mut twin = bound.addr;
        twin.set_ip("::1".parse().unwrap());
        let of = |sockets: Vec<OwnedFd>| -> Vec<SocketAddr> {
            let listeners = sockets.into_iter().map(TcpListener::from);
            listeners.map(|it| it.local_addr().unwrap()).collect()
        };
        assert_eq!(of(bound.sockets), [bound.addr; 2]);
        assert_eq!(of(bound.twins), [twin; 2]);
        let admins: Vec<_> = admins.iter().map(|it| it.local_addr().unwrap()).collect();
        assert_eq!(admins[0], addr);
        assert_eq!(admins[1].to_string(), format!("[::1]:{}", addr.port()));
        assert_eq!(admins.len(), 2);
    }
}
