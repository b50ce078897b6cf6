//! Both loopback addresses of a development server, and a listener that takes IPv4 and IPv6.

use crate::http::{create, exchange, get, get_with};
use crate::listeners::remote::status_over_tls;
use crate::peer::{Peer, answer, master_query, offer, to_master, to_viewer, viewer_query};
use crate::process::{Broker, binary, directory, run_to_end};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use testkit::Directory;

#[test]
fn a_development_server_is_reached_at_both_addresses() {
    if !has_ipv6() {
        return;
    }
    let broker = Broker::dev(2);
    let plain = twin(broker.plain);
    assert!(!broker.ready.contains("[::1]"), "{}", broker.ready);
    let arn = create(plain, "both", 60);
    let body = json!({ "ChannelARN": arn, "SingleMasterChannelEndpointConfiguration":
        { "Protocols": ["WSS", "HTTPS"], "Role": "MASTER" } });
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST /getSignalingChannelEndpoint HTTP/1.1\r\nHost: {plain}\r\n");
    let rest = format!("Content-Length: {length}\r\n\r\n{body}");
    let found = exchange(plain, (head + &rest).as_bytes()).ok().to_string();
    let port = broker.tls.port();
    for endpoint in [
        format!("wss://[::1]:{port}/master"),
        format!("https://[::1]:{port}"),
    ] {
        assert!(found.contains(&endpoint), "{endpoint} in {found}");
    }
    for name in ["::1", "localhost", "127.0.0.1"] {
        assert_eq!(status_over_tls(&broker, twin(broker.tls), name), Ok(404));
    }
    relays(broker.plain, plain, &arn, || {
        let shown = get(twin(broker.admin), "/channels/both").json();
        let peers = [&shown["master"], &shown["viewers"][0]];
        let remotes = peers.map(|peer| peer["remote"].as_str().unwrap_or_default());
        assert!(
            remotes[0].starts_with("127.0.0.1:") && remotes[1].starts_with("[::1]:"),
            "{shown}"
        );
    });
    assert_eq!(get(twin(broker.admin), "/ready").status, 200);
    broker.assert_balanced();
}

#[test]
fn a_port_that_is_taken_on_the_other_address_is_in_use() {
    let Ok(taken) = TcpListener::bind("[::1]:0") else {
        return eprintln!("skipped: this machine has no ::1");
    };
    let port = taken.local_addr().expect("an address").port();
    let listen = format!("http://127.0.0.1:{port}");
    let (code, said) = run_to_end(&["serve", "--dev", "--listen", &listen, "--admin", "off"]);
    assert_eq!(code, Some(2), "{said}");
    let begin = format!("listen = [::1]:{port}: the port is in use: choose a free one");
    let end = format!("(pid {}) has it", std::process::id());
    assert!(said.contains(&begin) && said.contains(&end), "{said}");
}

/// Only what is on 127.0.0.1 has a twin.
#[test]
fn an_address_of_ipv6_takes_ipv6_alone() {
    if !has_ipv6() {
        return;
    }
    // The port may be another's on the other address, by chance: not three times.
    let takes_it_alone = (0..3).any(|_| {
        let broker = Broker::start(&["--dev", "--listen", "http://[::1]:0"], 1);
        assert_eq!(get(broker.plain, "/ping").status, 200);
        let four = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), broker.plain.port());
        TcpStream::connect(four).is_err()
    });
    assert!(takes_it_alone);
}

#[test]
fn a_machine_without_ipv6_is_served_on_the_other_address() {
    let off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    let Some(network) = Network::new(off, &["--dev", "--listen", "http://127.0.0.1:0"]) else {
        return;
    };
    network.within(|broker| {
        assert!(TcpStream::connect(twin(broker.plain)).is_err());
        assert_eq!(get(broker.plain, "/ping").status, 200);
        assert_eq!(get(broker.admin, "/ready").status, 200);
        assert!(!broker.log().contains("::1"), "{}", broker.log());
    });
}

/// Clients of IPv4 are those of their addresses, with either setting of the kernel.
#[test]
fn any_address_takes_ipv4_too_and_shows_it_as_such() {
    let alone = "echo 1 > /proc/sys/net/ipv6/bindv6only";
    let listen = ["--dev", "--allow-remote", "--listen", "http://[::]:0"];
    let Some(network) = Network::new(alone, &listen) else {
        return;
    };
    network.within(|broker| {
        let port = broker.plain.port();
        assert_eq!(broker.plain.ip(), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let four = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let arn = create(four, "all", 60);
        relays(four, twin(four), &arn, || {
            let shown = get(broker.admin, "/channels/all").json();
            let peers = [&shown["master"], &shown["viewers"][0]];
            let remotes = peers.map(|peer| peer["remote"].as_str().unwrap_or_default());
            assert!(
                remotes[0].starts_with("127.0.0.1:") && remotes[1].starts_with("[::1]:"),
                "{shown}"
            );
        });
        let foreign = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert_eq!(exchange(four, foreign).status, 403);
        broker.logged(&["host_foreign", "127.0.0.1:"], 1);
        assert!(!broker.log().contains("ffff"), "{}", broker.log());
        broker.assert_balanced();
    });
}

/// A container's network, in which clients come in on any address, and have other numbers for its ports.
#[test]
fn a_container_serves_its_published_ports_and_its_pages_want_a_token() {
    let flags = ["--dev", "--container", "--plain", "--admin", "0.0.0.0:8090"];
    let Some(network) = Network::new("true", &flags) else {
        return;
    };
    network.within(|broker| {
        let start = "try=http://localhost:8090/try#token=";
        let (_, rest) = broker.ready.split_once(start).expect("a URL with a token");
        let token = rest.split(' ').next().expect("a word");
        let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8090);
        let bearer = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(get(admin, "/config").status, 401);
        let config = get_with(admin, "/config", &bearer).json();
        assert_eq!(config["container"], true);
        assert_eq!(get(admin, "/ready").status, 200);
        assert!(!broker.log().contains(token));
        broker.logged(&["--container", "published ports"], 1);
        let arn = create(broker.plain, "c", 60);
        for (host, status) in [("localhost:9080", 200), ("evil.example:8080", 403)] {
            let body = json!({ "ChannelARN": arn,
                "SingleMasterChannelEndpointConfiguration": { "Protocols": ["WSS"], "Role": "MASTER" } });
            let body = body.to_string();
            let length = body.len();
            let head = format!("POST /getSignalingChannelEndpoint HTTP/1.1\r\nHost: {host}\r\n");
            let rest = format!("Content-Length: {length}\r\n\r\n{body}");
            let answer = exchange(broker.plain, (head + &rest).as_bytes());
            assert_eq!(answer.status, status, "{host}");
            let found = answer.text().contains("\"ws://localhost:9080/master\"");
            assert_eq!(found, status == 200, "{}", answer.text());
        }
    });
}

/// A master at one address and a viewer at the other; `look` sees both.
fn relays(master: SocketAddr, viewer: SocketAddr, arn: &str, look: impl FnOnce()) {
    let mut master = Peer::plain_at(master, &master_query(arn));
    let mut viewer = Peer::plain_at(viewer, &viewer_query(arn, "v1"));
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    look();
    viewer.close();
    master.close();
}

/// The same port of ::1.
fn twin(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::LOCALHOST.into(), addr.port())
}

fn has_ipv6() -> bool {
    let bound = TcpListener::bind("[::1]:0");
    if let Err(error) = &bound {
        eprintln!("skipped: this machine has no ::1: {error}");
    }
    bound.is_ok()
}

/// A broker in a network of its own.
struct Network {
    broker: Broker,
    /// Removed once the broker has ended.
    _directory: Directory,
}

impl Network {
    /// After these words of a shell. Where that cannot be done there is none, which was said.
    fn new(words: &str, arguments: &[&str]) -> Option<Self> {
        let words = format!("ip link set lo up && {words}");
        let mut tried = Command::new("unshare");
        match tried.args(["--net", "sh", "-c", &words]).output() {
            Ok(output) if output.status.success() => {}
            other => {
                eprintln!("skipped: no network of its own can be made here: {other:?}");
                return None;
            }
        }
        let mut command = Command::new("unshare");
        let script = format!("{words} && exec \"$0\" \"$@\"");
        command.args(["--net", "sh", "-c", &script]).arg(binary());
        let directory = directory();
        let broker = Broker::launch_in(&directory, command, arguments, 2);
        Some(Self {
            broker,
            _directory: directory,
        })
    }

    /// Does something from within its network.
    fn within(self, act: impl FnOnce(&Broker) + Send) {
        let broker = &self.broker;
        let network = File::open(format!("/proc/{}/ns/net", broker.id())).expect("it runs");
        thread::scope(|scope| {
            let done = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(network.as_fd(), kind).expect("root may");
                act(broker);
            });
            done.join().expect("it holds");
        });
    }
}
