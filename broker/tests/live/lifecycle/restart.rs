//! Listening sockets that a service manager keeps over a restart, with a double of its store. Wants python3.

use crate::http::get;
use crate::peer::Peer;
use crate::process::{Broker, arn, binary, directory};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::{DescriptorStore, Directory, until_true};

/// One process of a service after the other, each with the store that the one before has filled.
struct Service {
    store: DescriptorStore,
    directory: Directory,
}

impl Service {
    fn new() -> Self {
        Self {
            store: DescriptorStore::new(64),
            directory: directory(),
        }
    }

    /// A process that listens at these addresses, once the store has its sockets.
    fn start(&self, listen: &[SocketAddr], shards: u16) -> Broker {
        let broker = self.start_from(self.store.command(&binary()), listen, shards);
        let listen = broker
            .ready
            .split(' ')
            .filter_map(|word| word.strip_prefix("http://"));
        let mut wanted: Vec<_> = listen
            .flat_map(|at| {
                let (ip, port) = at.split_once(':').expect("address and port");
                vec![format!("listen-{ip}_{port}"); usize::from(shards)]
            })
            .collect();
        wanted.sort();
        until_true("every listener is kept", || {
            let mut names = self.store.names();
            names.retain(|name| !name.contains('['));
            names == wanted
        });
        broker
    }

    fn start_from(&self, command: Command, listen: &[SocketAddr], shards: u16) -> Broker {
        let config = self.directory.join("broker.toml");
        fs::write(&config, "[timeouts]\ndrain = \"20s\"\n").expect("a file under target/");
        let listen = listen
            .iter()
            .flat_map(|addr| ["--listen".into(), format!("http://{addr}")]);
        let config = [
            "--dev".into(),
            "--config".into(),
            config.display().to_string(),
        ];
        let arguments: Vec<String> = config.into_iter().chain(listen).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Broker::launch_in(&self.directory, command, &arguments, shards)
    }
}

/// Any port of an address at which no other test listens, so that a port that is free again stays free.
fn any() -> SocketAddr {
    ([127, 0, 0, 4], 0).into()
}

/// A connection with a request, which waits in the kernel's queue while no process accepts.
fn newcomer(addr: SocketAddr) -> TcpStream {
    asking(TcpStream::connect(addr).expect("a socket listens"), addr)
}

fn asking(mut stream: TcpStream, addr: SocketAddr) -> TcpStream {
    let patience = stream.set_read_timeout(Some(testkit::WITHIN));
    patience.expect("a read timeout");
    let request = format!("GET /ping HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the kernel takes it");
    stream
}

fn is_served(mut stream: TcpStream) -> bool {
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    read.is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn clients_that_connect_during_a_restart_are_served_by_the_next_process() {
    for shards in [1, 2] {
        let service = Service::new();
        let mut broker = service.start(&[any()], shards);
        let addr = broker.plain;
        let mut newcomers = Vec::new();
        for _ in 0..2 {
            let mut master = Peer::master(&broker, &arn("demo"));
            let mut viewer = Peer::viewer(&broker, &arn("demo"), "v1");
            let began = Instant::now();
            broker.signal("TERM");
            master.expect_close(1001);
            viewer.expect_close(1001);
            if shards == 1 {
                // The only shard has stopped to accept before it closes anybody.
                newcomers.push(newcomer(addr));
            }
            drop((master, viewer));
            assert_eq!(broker.ended_within(Duration::from_secs(10)).code(), Some(0));
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "not the drain of 20 s"
            );
            newcomers.extend((0..32).map(|_| newcomer(addr)));
            broker = service.start(&[addr], shards);
            assert!(newcomers.drain(..).all(is_served), "{}", broker.log());
        }
    }
}

/// One client fills the queue while nobody accepts: another one's handshake is repeated by its kernel, and it is served
/// when the next process accepts.
#[test]
fn a_queue_that_a_client_fills_during_a_restart_delays_the_others() {
    let service = Service::new();
    let mut broker = service.start(&[any()], 1);
    let addr = broker.plain;
    broker.signal("TERM");
    assert_eq!(broker.ended_within(Duration::from_secs(10)).code(), Some(0));
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
    let queue = somaxconn
        .trim()
        .parse::<usize>()
        .expect("a number")
        .min(4_096);
    let crowd: Vec<_> = (0..queue + 64).map(|_| begun(66, addr)).collect();
    let other = begun(1, addr);
    for waits in [crowd.last().expect("a crowd"), &other] {
        assert!(
            waits.peer_addr().is_err(),
            "the queue is longer than {queue}"
        );
    }
    let began = Instant::now();
    let _broker = service.start(&[addr], 1);
    until_true("its handshake", || other.peer_addr().is_ok());
    other.set_nonblocking(false).expect("a socket");
    assert!(is_served(asking(other.into(), addr)));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

/// A connection from this address of loopback whose handshake is not waited for.
fn begun(from: u8, addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    let from = SocketAddr::from(([127, 0, 0, from], 0));
    socket.bind(&from.into()).expect("an address of loopback");
    socket.set_nonblocking(true).expect("a socket");
    let _ = socket.connect(&addr.into()); // it is in progress
    socket
}

#[test]
fn a_process_that_was_killed_leaves_its_listeners_to_the_next_one() {
    let service = Service::new();
    let mut broker = service.start(&[any()], 2);
    let addr = broker.plain;
    broker.signal("KILL");
    broker.ended_within(Duration::from_secs(10));
    let mut newcomers: Vec<_> = (0..32).map(|_| newcomer(addr)).collect();
    let _broker = service.start(&[addr], 2);
    assert!(newcomers.drain(..).all(is_served));
}

#[test]
fn other_addresses_and_numbers_of_shards_leave_no_socket_without_a_process() {
    let service = Service::new();
    let mut broker = service.start(&[any(), any()], 2);
    let addr = broker.plain;
    let mut words = broker
        .ready
        .split(' ')
        .filter_map(|word| word.strip_prefix("http://"));
    let gone = words.nth(1).and_then(|at| at.parse().ok());
    let gone: SocketAddr = gone.expect("the second one");
    for shards in [3, 1] {
        end(&mut broker);
        broker = service.start(&[addr], shards);
        assert!((0..32).all(|_| get(addr, "/ping").status == 200));
        until_refused(gone);
    }
    end(&mut broker);
    broker = service.start(&[gone], 2);
    assert!((0..32).all(|_| get(gone, "/ping").status == 200));
    until_refused(addr);
    end(&mut broker);
    service.store.clear();
    until_refused(gone);
}

/// Waits until nobody listens. A program that another test starts at this moment has the store's descriptors from its
/// fork until its exec.
fn until_refused(addr: SocketAddr) {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    until_true("nobody listens", || {
        TcpStream::connect(addr).is_err_and(refused)
    });
}

fn end(broker: &mut Broker) {
    broker.signal("TERM");
    assert_eq!(broker.ended_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn a_wrong_environment_stops_no_start() {
    for (count, names) in [("-1", ""), ("x", "a:b"), ("99999", "::"), ("1", "a\nb")] {
        let service = Service::new();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
            .arg(binary());
        shell.env("LISTEN_FDS", count).env("LISTEN_FDNAMES", names);
        let broker = service.start_from(shell, &[any()], 1);
        assert_eq!(get(broker.plain, "/ping").status, 200, "{count} {names}");
        if count != "1" {
            broker.logged(&["LISTEN_FDS = "], 1); // the number of this one may be of another descriptor
        }
    }
}
