//! Listening sockets. Each address has one socket per shard, all on the same port (`SO_REUSEPORT`). In a cluster with
//! etcd, however, each socket for other nodes has a port of its own.
//!
//! This file contains, in this order, the sockets of all listeners, the second loopback address of a development
//! server, the socket options, and the search for the process that occupies a port.

use crate::failure::{Failure, Fallible};
use crate::server::kept_sockets::KeptSockets;
use crate::{edge::REQUEST_SEND_BYTES, terminal::plain};
use broker_core::settings::{ClusterSettings, Settings, overlap};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Bound {
    /// The address that the sockets are bound to. If port 0 was configured, it contains the port that the system chose.
    pub(crate) addr: SocketAddr,
    pub(crate) sockets: Vec<OwnedFd>,
    /// Sockets on ::1 if this is a development server's listener on 127.0.0.1. Empty for other listeners.
    pub(crate) twins: Vec<OwnedFd>,
}

/// Binds a client listener with one socket per shard, reusing sockets that were kept for its address. Fails with
/// [`Failure::Configuration`] if the address is not available.
pub(crate) fn bind(settings: &Settings, at: SocketAddr, kept: &mut KeptSockets) -> Fallible<Bound> {
    let tcp_user_ms = settings.timeouts.tcp_user_ms;
    let bind = |addr, busy| {
        let kept = kept.take(addr, settings.shards);
        bind_all(addr, busy, kept, settings.shards, tcp_user_ms)
    };
    let (addr, sockets, twins) =
        bind_both(settings, at, bind).map_err(|(addr, error)| refusal("listen", addr, &error))?;
    let twins = twins.unwrap_or_default();
    for socket in sockets.iter().chain(&twins) {
        // Accepted sockets inherit this size. The kernel doubles it to account for its own overhead.
        let set = SockRef::from(socket).set_send_buffer_size(REQUEST_SEND_BYTES / 2);
        set.map_err(|error| refusal("listen", at, &error))?;
    }
    Ok(Bound {
        addr,
        sockets,
        twins,
    })
}

/// Binds the listeners for other nodes and writes their actual ports to the settings. Fails with
/// [`Failure::Configuration`] if an address is not available.
pub(crate) fn bind_inner(
    cluster: &mut ClusterSettings,
    shards: usize,
    tcp_user_ms: u64,
) -> Fallible<Option<Bound>> {
    let Some(listen) = cluster.listen else {
        return Ok(None);
    };
    let (mut addr, sockets) = if cluster.etcd.is_on() {
        let (sockets, ports) = bind_each(listen, cluster.inner(shards), tcp_user_ms)?;
        cluster.ports = ports;
        (listen, sockets)
    } else {
        bind_all(listen, Busy::Wait, Vec::new(), shards, tcp_user_ms)
            .map_err(|error| refusal("cluster.listen", listen, &error))?
    };
    if let Some(first) = cluster.ports.first() {
        addr.set_port(*first);
    }
    cluster.listen = Some(addr);
    Ok(Some(Bound {
        addr,
        sockets,
        twins: Vec::new(),
    }))
}

fn bind_each(
    listen: SocketAddr,
    addresses: Option<Vec<SocketAddr>>,
    tcp_user_ms: u64,
) -> Fallible<(Vec<OwnedFd>, Vec<u16>)> {
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
    Ok((sockets, ports))
}

/// Returns one socket per shard, and their actual address. Reuses kept sockets first, and creates the rest.
fn bind_all(
    mut addr: SocketAddr,
    busy: Busy,
    kept: Vec<Socket>,
    shards: usize,
    tcp_user_ms: u64,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    // If another process shared this port, clients would reach one of the two processes at random.
    if addr.port() != 0 && kept.is_empty() {
        when_free(busy, || probe(addr))?;
    }
    let mut sockets = Vec::with_capacity(shards);
    for socket in kept {
        sockets.push(OwnedFd::from(listen(socket, tcp_user_ms)?));
    }
    while sockets.len() < shards {
        let socket = shared(addr, tcp_user_ms)?;
        addr = local(&socket)?;
        sockets.push(OwnedFd::from(socket));
    }
    Ok((addr, sockets))
}

/// Binds the admin listener to the configured address and, under `--dev`, also to ::1. The ::1 socket comes second.
/// Fails with [`Failure::Configuration`] if the address is not available.
pub(crate) fn bind_admin(
    settings: &Settings,
    addr: SocketAddr,
) -> Fallible<(SocketAddr, Vec<TcpListener>)> {
    let bind = |addr, busy| {
        let socket = when_free(busy, || alone(addr, 0))?;
        socket.set_nonblocking(true)?;
        Ok((local(&socket)?, TcpListener::from(socket)))
    };
    let (addr, first, twin) = bind_both(settings, addr, bind)
        .map_err(|(addr, error)| refusal("admin.listen", addr, &error))?;
    Ok((addr, std::iter::once(first).chain(twin).collect()))
}

fn refusal(key: &str, addr: SocketAddr, error: &io::Error) -> Failure {
    let remedy = remedy(key, addr, error);
    Failure::Configuration(format!("{key} = {addr}: {remedy}"))
}

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
        io::ErrorKind::AddrInUse => match self::of(addr) {
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

// The second loopback address of a development server: a listener on 127.0.0.1 also listens on ::1, on the same port.
//
// Many hosts files map `localhost` to both addresses, or list `::1` first. Clients that try only one address, such as
// node 18, take the first.

/// Returns whether the listener at `addr` also listens on ::1. Under `--dev`, a listener on 127.0.0.1 does so unless
/// another listener uses that port on ::1.
pub(crate) fn has_twin(settings: &Settings, addr: SocketAddr) -> bool {
    let mut others = settings.listen.iter().map(|listen| listen.addr);
    let twin = twin_of(addr);
    let has_it = |other: SocketAddr| other.port() != 0 && overlap(other, twin);
    settings.dev
        && addr.ip() == Ipv4Addr::LOCALHOST
        && !others.any(has_it)
        && !settings.admin.listen.is_some_and(has_it)
}

/// Calls `bind` for `addr` and, if that listener has a twin, for the same port on ::1. `bind` returns the actual
/// address.
///
/// If the system selected a port that is in use on ::1, another port is tried, up to [`PICKS_MAX`] times. The error
/// contains the address that is not available, and the reason.
fn bind_both<T>(
    settings: &Settings,
    addr: SocketAddr,
    mut bind: impl FnMut(SocketAddr, Busy) -> io::Result<(SocketAddr, T)>,
) -> Result<(SocketAddr, T, Option<T>), (SocketAddr, io::Error)> {
    let mut picks = 0;
    loop {
        picks += 1;
        let picks_again = addr.port() == 0 && picks < PICKS_MAX;
        let (actual, first) = bind(addr, Busy::Wait).map_err(|error| (addr, error))?;
        if !has_twin(settings, addr) {
            return Ok((actual, first, None));
        }
        let twin = twin_of(actual);
        let busy = if picks_again { Busy::Fail } else { Busy::Wait };
        let twin = match bind(twin, busy) {
            Ok((_, twin)) => Some(twin),
            Err(error) if is_absent(&error) => None,
            Err(error) if picks_again && error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => return Err((twin, error)),
        };
        return Ok((actual, first, twin));
    }
}

pub(crate) fn twin_of(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), addr.port())
}

/// Returns whether the error means that ::1 does not exist because IPv6 is disabled for the system, the loopback
/// interface, or this process.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || is_without_ipv6(error)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Maximum attempts to find a port that is free on both addresses. An attempt fails only if the port is in use on ::1.
const PICKS_MAX: usize = 16;

// Socket options, and waiting for a port that is in use.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    Wait,
    Fail,
}

/// Retries while the port is in use. After a process is killed, the kernel takes a few milliseconds to close the
/// sockets in its `io_uring`, so the next process may start before the port is free.
fn when_free<T>(busy: Busy, bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
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

/// Checks that no socket uses the address and port, not even one with `SO_REUSEPORT`. The error states why the address
/// is not available.
pub(crate) fn probe(addr: SocketAddr) -> io::Result<()> {
    socket(addr)?.bind(&addr.into())
}

pub(crate) fn alone(addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    let socket = socket(addr)?;
    socket.bind(&addr.into())?;
    listen(socket, tcp_user_ms)
}

pub(crate) fn shared(addr: SocketAddr, tcp_user_ms: u64) -> io::Result<Socket> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    listen(socket, tcp_user_ms)
}

pub(crate) fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Makes a socket listen. A kept socket is already listening, but its options may differ.
fn listen(socket: Socket, tcp_user_ms: u64) -> io::Result<Socket> {
    // Accepted sockets inherit both options. A timeout of 0 selects the kernel's default.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(Duration::from_millis(tcp_user_ms)))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if matches!(addr.ip(), IpAddr::V6(ip) if ip.is_unspecified()) {
        // `[::]` also accepts IPv4 clients, regardless of `net.ipv6.bindv6only`.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Maximum number of connections that the kernel completes for a shard that is too busy to accept them. Also limited by
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Maximum time that startup waits for a port to become free.
const FREE_WITHIN: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(5);

// Searches `/proc` for the process that occupies a port, so that the error can name it.
//
// The kernel lists listening sockets by inode in `/proc/net/tcp`, and a process's descriptors under its process id
// (proc(5)). Only root can read the descriptors of other users' processes.

/// Returns the process that listens on `addr`, or on a wildcard address that includes it, as `heliograph (pid 1234)`.
pub(crate) fn of(addr: SocketAddr) -> Option<String> {
    let inodes = inodes(addr);
    let until = Instant::now() + LOOK_MAX;
    let processes = fs::read_dir("/proc").ok()?.take(ENTRIES_MAX).flatten();
    let mut numbers = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .take_while(|_| Instant::now() < until);
    let number = numbers.find(|number| has_one_of(*number, &inodes, until))?;
    let comm = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    // Processes choose their own names, so control characters are escaped.
    Some(format!("{} (pid {number})", plain(comm.trim_end())))
}

fn inodes(addr: SocketAddr) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let Ok(file) = File::open(table) else {
            continue;
        };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let listening = lines.take(ENTRIES_MAX).filter_map(|line| listening(&line));
        inodes.extend(
            listening
                .filter(|(at, _)| overlap(*at, addr))
                .map(|(_, inode)| inode),
        );
    }
    inodes
}

fn has_one_of(process: u32, inodes: &BTreeSet<u64>, until: Instant) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false; // the process belongs to another user or has exited
    };
    descriptors
        .flatten()
        .take(ENTRIES_MAX)
        .take_while(|_| Instant::now() < until)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .any(|inode| inodes.contains(&inode))
}

/// Parses a line of the kernel's socket table. Returns a listening socket's address and inode, and `None` for any other
/// line.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let inode = words.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then_some((SocketAddr::new(address(ip)?, port), inode))
}

/// Parses an address in the kernel's format: a sequence of four-byte words in native byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(8 * at..8 * at + 8)?, 16).ok();
    let bytes = |at: usize| word(at).map(u32::to_ne_bytes);
    match hex.len() {
        8 => bytes(0).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes))),
        32 => {
            let words = [bytes(0)?, bytes(1)?, bytes(2)?, bytes(3)?];
            let whole: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(whole)))
        }
        _ => None,
    }
}

/// TCP_LISTEN in the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";

/// Maximum number of sockets, processes, and descriptors per process that the search examines. If it finds nothing, the
/// error suggests a command that the user can run instead.
const ENTRIES_MAX: usize = 1 << 17;

/// Time limit for finding the process that occupies a port. The search delays the broker's exit.
const LOOK_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::{TRY_EVERY, *};
    use broker_core::settings::Profile;
    use socket2::Socket;
    use std::net::TcpStream;
    use std::thread;
    use std::time::Duration;

    /// Returns settings without `--dev` that have this number of shards.
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
        let bound = bind(&shards(3, 30_000), any(), &mut KeptSockets::default()).unwrap();
        assert_ne!(bound.addr.port(), 0);
        let listeners: Vec<_> = bound.sockets.into_iter().map(TcpListener::from).collect();
        assert!(
            listeners
                .iter()
                .all(|listener| listener.local_addr().unwrap() == bound.addr)
        );
        TcpStream::connect(bound.addr).unwrap();
    }

    /// Returns the settings of a listener for other nodes. They have these etcd endpoints, or a fixed map if there are
    /// none.
    fn inner(listen: &str, etcd: &[&str]) -> ClusterSettings {
        let mut cluster = ClusterSettings {
            listen: Some(listen.parse().unwrap()),
            ..ClusterSettings::default()
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
        // The port two below a selected port may be in use, so several attempts are made.
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
        let bound = bind(&shards(1, 12_000), any(), &mut KeptSockets::default()).unwrap();
        let listener = TcpListener::from(bound.sockets.into_iter().next().unwrap());
        let _client = TcpStream::connect(bound.addr).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(12))
        );
        assert_eq!(accepted.send_buffer_size().unwrap(), REQUEST_SEND_BYTES);
    }

    #[test]
    fn a_port_that_another_process_shares_is_refused() {
        let bound = bind(&shards(1, 0), any(), &mut KeptSockets::default()).unwrap();
        let again = bound.addr;
        let Err(Failure::Configuration(text)) =
            bind(&shards(1, 0), again, &mut KeptSockets::default())
        else {
            panic!("bound twice")
        };
        testkit::assert_begins(
            &text,
            &format!(
                "listen = {}: the port is in use: choose a free one",
                bound.addr
            ),
        );
        assert!(bind_admin(&shards(1, 0), bound.addr).is_err());
    }

    #[test]
    fn a_port_that_becomes_free_soon_is_waited_for() {
        let bound = bind(&shards(1, 0), any(), &mut KeptSockets::default()).unwrap();
        let again = bound.addr;
        let before = thread::spawn(move || {
            thread::sleep(10 * TRY_EVERY);
            drop(bound);
        });
        bind(&shards(1, 0), again, &mut KeptSockets::default()).unwrap();
        before.join().unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let Err(Failure::Configuration(text)) = bind(
            &shards(1, 0),
            "192.0.2.1:0".parse().unwrap(),
            &mut KeptSockets::default(),
        ) else {
            panic!("bound an address for documentation")
        };
        testkit::assert_has(&text, &["must be an address of this machine"]);
    }

    #[test]
    fn the_refusal_of_a_port_in_use_ends_with_who_has_it() {
        let bound = bind(&shards(1, 0), any(), &mut KeptSockets::default()).unwrap();
        let Err(Failure::Configuration(text)) =
            bind(&shards(1, 0), bound.addr, &mut KeptSockets::default())
        else {
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
        let bound = bind(&settings, any(), &mut KeptSockets::default()).unwrap();
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

#[cfg(test)]
mod twin_tests {
    use super::*;
    use broker_core::settings::{Listen, Profile, Scheme};
    use std::cell::Cell;

    fn dev(listen: &[&str], admin: &str) -> Settings {
        let listen = listen.iter().map(|addr| Listen {
            scheme: Scheme::Http,
            addr: addr.parse().unwrap(),
        });
        let mut settings = Settings::new(Profile::Default, true);
        settings.listen = listen.collect();
        settings.admin.listen = Some(admin.parse().unwrap());
        settings
    }

    #[test]
    fn a_development_server_on_127_0_0_1_has_a_twin_that_no_other_listener_has() {
        let wanted = |settings: &Settings, addr: &str| has_twin(settings, addr.parse().unwrap());
        let plain = dev(&["127.0.0.1:8080"], "127.0.0.1:8090");
        assert!(wanted(&plain, "127.0.0.1:8080") && wanted(&plain, "127.0.0.1:8090"));
        assert!(wanted(&plain, "127.0.0.1:0"));
        for other in ["127.0.0.2:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080"] {
            assert!(!wanted(&plain, other), "{other}");
        }
        for (explicit, is) in [
            ("[::1]:8080", false),
            ("[::]:8080", false),
            ("[::1]:0", true),
        ] {
            let both = dev(&["127.0.0.1:8080", explicit], "127.0.0.1:8090");
            assert_eq!(wanted(&both, "127.0.0.1:8080"), is, "{explicit}");
        }
        let admin = dev(&["127.0.0.1:8080"], "[::1]:8080");
        assert!(!wanted(&admin, "127.0.0.1:8080"));
        let mut serious = plain;
        serious.dev = false;
        assert!(!wanted(&serious, "127.0.0.1:8080"));
    }

    /// Imitates a kernel that binds every port on 127.0.0.1. On ::1, it fails with the error that `on_twin` returns, if
    /// any.
    fn kernel(
        picked: &Cell<u16>,
        on_twin: impl Fn(u16) -> Option<i32>,
    ) -> impl Fn(SocketAddr, Busy) -> io::Result<(SocketAddr, IpAddr)> {
        move |mut addr, _| {
            if addr.port() == 0 {
                picked.set(picked.get() + 1);
                addr.set_port(picked.get());
            }
            let error = on_twin(addr.port()).filter(|_| addr.is_ipv6());
            let failed = error.map(io::Error::from_raw_os_error);
            failed.map_or_else(|| Ok((addr, addr.ip())), Err)
        }
    }

    #[test]
    fn a_machine_without_the_address_has_no_twin() {
        for error in [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT] {
            let picked = Cell::new(0);
            let bind = kernel(&picked, |_| Some(error));
            let settings = dev(&[], "127.0.0.1:8090");
            let (addr, _, twin) = bind_both(&settings, ([127, 0, 0, 1], 0).into(), bind).unwrap();
            assert_eq!((addr.port(), twin), (1, None));
        }
    }

    #[test]
    fn a_port_that_is_taken_on_the_twin_is_picked_again_a_bounded_number_of_times() {
        let picked = Cell::new(60_000);
        let busy = |port| (port < 60_003).then_some(libc::EADDRINUSE);
        let settings = dev(&[], "127.0.0.1:8090");
        let any = ([127, 0, 0, 1], 0).into();
        let (addr, _, twin) = bind_both(&settings, any, kernel(&picked, busy)).unwrap();
        assert_eq!(addr.port(), 60_003);
        assert_eq!(twin, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        picked.set(60_000);
        let always = kernel(&picked, |_| Some(libc::EADDRINUSE));
        let (addr, error) = bind_both(&settings, any, always).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!((addr.ip(), picked.get()), (twin_of(addr).ip(), 60_016));
    }

    #[test]
    fn a_configured_port_that_is_taken_on_the_twin_is_refused() {
        let picked = Cell::new(0);
        let bind = kernel(&picked, |_| Some(libc::EADDRINUSE));
        let settings = dev(&["127.0.0.1:8080"], "127.0.0.1:8090");
        let (addr, error) = bind_both(&settings, ([127, 0, 0, 1], 8080).into(), bind)
            .err()
            .unwrap();
        assert_eq!(addr, "[::1]:8080".parse().unwrap());
        assert_eq!((error.kind(), picked.get()), (io::ErrorKind::AddrInUse, 0));
    }
}

#[cfg(test)]
mod owner_tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_process_of_a_port_is_found_by_its_address_or_one_that_covers_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut at = listener.local_addr().unwrap();
        let us = format!(" (pid {})", std::process::id());
        let found = of(at).unwrap();
        assert!(found.ends_with(&us) && found.len() > us.len(), "{found}");
        at.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert!(of(at).unwrap().ends_with(&us));
        drop(listener);
        assert_eq!(of(at), None);
        match TcpListener::bind("[::1]:0") {
            Ok(listener) => {
                let found = of(listener.local_addr().unwrap()).unwrap();
                assert!(found.ends_with(&us), "{found}");
            }
            Err(error) => eprintln!("skipped: no ::1: {error}"),
        }
    }

    /// The lines were taken from a machine with the byte order of x86.
    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_the_table_are_read() {
        let four = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 \
                    0000000000000000 100 0 0 10 0";
        let at = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(listening(four), Some((at, 4711)));
        let six = four.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(listening(&six), Some(("[::1]:8080".parse().unwrap(), 4711)));
        for other in [
            four.replace(" 0A ", " 01 "),
            four.replace("0100007F", "0100007"),
            four.replace("4711", "-"),
            four.replace("0100007F", "€€€"),
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
                .into(),
            String::new(),
        ] {
            assert_eq!(listening(&other), None, "{other}");
        }
    }
}
