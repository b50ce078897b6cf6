//! Tests two nodes, and strangers, on loopback.

mod addresses;
mod names;

use super::*;
use crate::limits::{PEER_IDLE, PEER_STALL, QUEUE_MAX};
use crate::peers::{Inbox, PeerMail};
use crate::tcp::{frames, incoming, shared};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

const SECRET: &str = "0f";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn secret(byte: &str) -> ClusterSecret {
    ClusterSecret::parse(&byte.repeat(32)).unwrap()
}

/// Runs a test on a runtime like the driver's.
fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(Duration::from_secs(60), test).await.unwrap();
    });
}

/// A node in a test.
struct Node {
    name: Name,
    peers: TcpPeers,
    inbox: Inbox,
    address: SocketAddr,
    counts: Arc<PeerCounts>,
}

impl Node {
    fn new(text: &str) -> Self {
        Self::with(text, SECRET, "prod", (Ipv4Addr::LOCALHOST, 0).into())
    }

    fn with(text: &str, byte: &str, cluster: &str, address: SocketAddr) -> Self {
        let bound = TcpPeers::bind(address, &name(text), &secret(byte), cluster).unwrap();
        let (address, counts) = (bound.address(), bound.counts());
        let (mailbox, inbox) = PeerMailbox::new();
        Self {
            name: name(text),
            peers: bound.start(mailbox),
            inbox,
            address,
            counts,
        }
    }

    fn send(&mut self, to: &Self, message: &[u8]) {
        self.peers.send(&to.name, &[to.address], message.to_vec());
    }

    /// Sends `message` repeatedly until something arrives at `to`, and returns what arrived.
    async fn reaches(&mut self, to: &mut Self, message: &[u8]) -> PeerMail {
        loop {
            self.send(to, message);
            if let Ok(Some(mail)) = timeout(Duration::from_millis(100), to.inbox.recv()).await {
                return mail;
            }
        }
    }

    fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    async fn refused(&self, count: u64) {
        until(|| self.counts.refused.load(Ordering::Relaxed) >= count).await;
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Opens a connection that proves the secret, but has sent no hello yet.
    async fn with_secret(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let name = ServerName::try_from("node").unwrap();
        let stream = self.connect().await;
        let connector = &self.peers.shared.connector;
        connector.connect(name, stream).await.unwrap()
    }

    /// Opens a connection that states this node's name in its hello.
    async fn as_node(&self, from: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut stream = self.with_secret().await;
        let (from, to) = (name(from), self.name.clone());
        let only_asks = false;
        let hello = frames::Hello {
            from,
            to,
            only_asks,
        };
        hello.write(&mut stream).await.unwrap();
        frames::Hello::read(&mut stream).await.unwrap();
        stream
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the other side has closed the connection, in whatever way.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

fn is_message(mail: &PeerMail, of: &str, message: &[u8]) -> bool {
    matches!(mail, PeerMail::Message(from, bytes) if *from == name(of) && bytes == message)
}

#[test]
fn messages_arrive_whole_in_order_and_from_whom_they_are() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        let large: Vec<u8> = (0..=255).cycle().take(MESSAGE_BYTES_MAX).collect();
        for message in [&b"one"[..], b"two", &large, b"three"] {
            n1.send(&n2, message);
        }
        for message in [&b"one"[..], b"two", &large, b"three"] {
            let mail = n2.inbox.recv().await.unwrap();
            assert!(is_message(&mail, "n1", message), "{} bytes", message.len());
        }
        n2.send(&n1, b"answer");
        let mail = n1.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n2", b"answer"));
        assert_eq!((n1.lost(), n2.lost()), (0, 0));
        assert_eq!(n1.counts.sent.load(Ordering::Relaxed), 4);
        assert_eq!(n2.counts.received.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn what_cannot_be_sent_is_lost_and_counted() {
    run(async {
        let (mut n1, n2) = (Node::new("n1"), Node::new("n2"));
        n1.peers.send(&n2.name, &[], b"no address".to_vec());
        n1.send(&n2, &vec![0; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(n1.lost(), 2);
        // The task of the connection does not run before this one waits.
        for _ in 0..=QUEUE_MAX {
            n1.send(&n2, b"x");
        }
        assert_eq!(n1.lost(), 3, "one more than the queue takes");
        n1.peers.nodes.clear();
        for _ in 0..3 {
            n1.send(&n2, &vec![0; MESSAGE_BYTES_MAX]);
        }
        assert_eq!(n1.lost(), 4, "two of the longest fit");
    });
}

#[test]
fn a_port_that_nobody_listens_on_is_reported_and_tried_again() {
    run(async {
        let mut n1 = Node::new("n1");
        let n2 = Node::new("n2");
        let address = n2.address;
        drop(n2.peers);
        tokio::task::yield_now().await;
        let dead = Node {
            peers: Node::new("n2").peers,
            ..n2
        };
        n1.send(&dead, b"question");
        let mail = n1.inbox.recv().await.unwrap();
        assert!(matches!(&mail, PeerMail::Refused(node) if *node == dead.name));
        assert_eq!(n1.lost(), 1);
        let mut again = Node::with("n2", SECRET, "prod", address);
        let mail = n1.reaches(&mut again, b"question").await;
        assert!(is_message(&mail, "n1", b"question"));
    });
}

#[test]
fn a_connection_that_breaks_is_replaced() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        n1.reaches(&mut n2, b"before").await;
        let address = n2.address;
        drop(n2);
        // The port becomes free once the task of its listener has ended.
        let mut n2 = loop {
            tokio::task::yield_now().await;
            let (node, secret) = (name("n2"), secret(SECRET));
            if let Ok(bound) = TcpPeers::bind(address, &node, &secret, "prod") {
                let (mailbox, inbox) = PeerMailbox::new();
                break Node {
                    name: node,
                    counts: bound.counts(),
                    peers: bound.start(mailbox),
                    inbox,
                    address,
                };
            }
        };
        let mail = n1.reaches(&mut n2, b"after").await;
        assert!(is_message(&mail, "n1", b"after"));
    });
}

#[test]
fn a_node_that_moves_is_reached_where_it_is() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        n1.reaches(&mut n2, b"here").await;
        let mut moved = Node::new("n2");
        let mail = n1.reaches(&mut moved, b"there").await;
        assert!(is_message(&mail, "n1", b"there"));
    });
}

#[test]
fn another_secret_or_cluster_is_refused_by_both_sides() {
    for (byte, cluster) in [("0e", "prod"), (SECRET, "test")] {
        run(async {
            let mut n1 = Node::new("n1");
            let mut n2 = Node::with("n2", byte, cluster, (Ipv4Addr::LOCALHOST, 0).into());
            n1.send(&n2, b"question");
            n2.refused(1).await;
            until(|| n1.lost() == 1).await;
            n2.send(&n1, b"question");
            n1.refused(1).await;
            until(|| n2.lost() == 1).await;
            for node in [&mut n1, &mut n2] {
                while let Ok(mail) = timeout(Duration::ZERO, node.inbox.recv()).await {
                    assert!(
                        matches!(mail, Some(PeerMail::Unreached(_))),
                        "no message arrived"
                    );
                }
                assert_eq!(node.counts.sent.load(Ordering::Relaxed), 0);
            }
        });
    }
}

/// If one side refuses the other as belonging to another cluster, both logs show it.
#[test]
fn both_sides_log_that_the_secret_is_another() {
    run(async {
        let n1 = Node::new("n1");
        let n2 = Node::with("n2", "0e", "prod", (Ipv4Addr::LOCALHOST, 0).into());
        let name = ServerName::try_from("node").unwrap();
        let stream = n2.connect().await;
        let (client, server) = tokio::join!(
            n1.peers.shared.connector.connect(name, stream),
            n2.refused(1)
        );
        let () = server;
        let error = client.unwrap_err();
        assert_eq!(incoming::refusal(&error), shared::Refusal::OtherCluster);
        let reasons = n2.peers.shared.notes.reasons();
        assert_eq!(reasons, [shared::Refusal::OtherCluster]);
    });
}

#[test]
fn who_means_another_node_or_is_another_of_this_name_is_refused() {
    run(async {
        let mut n1 = Node::new("n1");
        let n2 = Node::new("n2");
        // The roster contains the address of n2 for n3.
        n1.peers.send(&name("n3"), &[n2.address], b"x".to_vec());
        n2.refused(1).await;
        until(|| n1.lost() == 1).await;
        let mut twin = n2.as_node("n2").await;
        n2.refused(2).await;
        closed(&mut twin).await;
        let reasons = n2.peers.shared.notes.reasons();
        let expected = [shared::Refusal::OtherNode, shared::Refusal::SameName];
        assert_eq!(reasons, expected);
    });
}

#[test]
fn garbage_costs_its_own_connection_only() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        n1.reaches(&mut n2, b"before").await;
        // The stranger does not speak TLS at all.
        let mut stranger = n2.connect().await;
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        closed(&mut stranger).await;
        // The stranger has the secret, but sends no hello.
        let mut stream = n2.with_secret().await;
        stream.write_all(&[200; 300]).await.unwrap();
        closed(&mut stream).await;
        // After the hello, the stranger sends an invalid frame: an empty one, or one longer than any message.
        for length in [0, u32::try_from(MESSAGE_BYTES_MAX).unwrap() + 1] {
            let mut stream = n2.as_node("n3").await;
            stream.write_all(&length.to_le_bytes()).await.unwrap();
            closed(&mut stream).await;
        }
        // The stranger sends half of a frame and ends the connection.
        let mut stream = n2.as_node("n3").await;
        stream.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
        stream.shutdown().await.unwrap();
        closed(&mut stream).await;
        n2.refused(4).await;
        n1.send(&n2, b"after");
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"after"));
        assert_eq!(n1.lost(), 0, "its connection was left alone");
    });
}

/// Bytes recorded on one connection are sent again on another one.
#[test]
fn what_was_recorded_cannot_be_sent_again() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        // An attacker between the nodes records their connection.
        let between = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = between.local_addr().unwrap();
        n1.peers.send(&n2.name, &[address], b"once".to_vec());
        let (mut client, _) = between.accept().await.unwrap();
        let mut server = n2.connect().await;
        let mut recorded = Vec::new();
        let mail = loop {
            let (mut up, mut down) = ([0; 4096], [0; 4096]);
            tokio::select! {
                mail = n2.inbox.recv() => break mail.unwrap(),
                read = client.read(&mut up) => {
                    let bytes = &up[..read.unwrap()];
                    recorded.extend_from_slice(bytes);
                    server.write_all(bytes).await.unwrap();
                }
                read = server.read(&mut down) => {
                    client.write_all(&down[..read.unwrap()]).await.unwrap();
                }
            }
        };
        assert!(is_message(&mail, "n1", b"once"));
        let mut again = n2.connect().await;
        again.write_all(&recorded).await.unwrap();
        closed(&mut again).await;
        n2.refused(1).await;
        let mail = timeout(Duration::ZERO, n2.inbox.recv()).await;
        assert!(mail.is_err(), "nothing arrived");
    });
}

#[test]
fn silent_strangers_end_and_make_room() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        let mut strangers = Vec::new();
        for _ in 0..=crate::limits::STRANGERS_MAX {
            strangers.push(n2.connect().await);
        }
        n2.refused(1).await;
        closed(&mut strangers[0]).await;
        let mail = n1.reaches(&mut n2, b"all the same").await;
        assert!(is_message(&mail, "n1", b"all the same"));
        for stranger in &mut strangers {
            closed(stranger).await;
        }
    });
}

#[test]
fn half_a_frame_has_a_deadline() {
    run(async {
        let n2 = Node::new("n2");
        let mut stream = n2.as_node("n3").await;
        stream.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
        let began = tokio::time::Instant::now();
        closed(&mut stream).await;
        assert!(began.elapsed() >= PEER_STALL);
    });
}

/// The peer states its name and then reads nothing.
#[test]
fn a_peer_that_does_not_read_costs_its_own_messages_only() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        let stuck = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = stuck.local_addr().unwrap();
        for _ in 0..2 {
            let message = vec![0; MESSAGE_BYTES_MAX];
            n1.peers.send(&name("n3"), &[address], message);
        }
        let (stream, _) = stuck.accept().await.unwrap();
        let mut stream = n2.peers.shared.acceptor.accept(stream).await.unwrap();
        let hello = frames::Hello::read(&mut stream).await.unwrap();
        let answer = frames::Hello {
            from: hello.to,
            to: hello.from,
            only_asks: false,
        };
        answer.write(&mut stream).await.unwrap();
        for number in 0..10_u8 {
            n1.send(&n2, &[number]);
            let mail = n2.inbox.recv().await.unwrap();
            assert!(is_message(&mail, "n1", &[number]));
        }
        until(|| n1.lost() == 2).await;
        drop(stream);
        n1.send(&n2, b"after");
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"after"));
    });
}

#[test]
fn what_was_sent_leaves_before_the_end() {
    run(async {
        let (mut n1, mut n2) = (Node::new("n1"), Node::new("n2"));
        n1.send(&n2, b"goodbye");
        n1.peers.finish().await;
        drop(n1);
        let mail = n2.inbox.recv().await.unwrap();
        assert!(is_message(&mail, "n1", b"goodbye"));
    });
}

#[test]
fn a_mailbox_has_a_bound_in_bytes() {
    run(async {
        let (mailbox, mut inbox) = PeerMailbox::new();
        let mail = || PeerMail::Message(name("n1"), vec![0; MESSAGE_BYTES_MAX]);
        let fit = crate::limits::MAIL_BYTES_MAX / MESSAGE_BYTES_MAX;
        for _ in 0..fit {
            assert!(mailbox.put(mail()));
        }
        assert!(!mailbox.put(mail()));
        assert!(
            mailbox.put(PeerMail::Refused(name("n1"))),
            "it takes no bytes"
        );
        inbox.recv().await.unwrap();
        assert!(mailbox.put(mail()));
    });
}
