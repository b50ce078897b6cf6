//! Pages of the admin listener on a TLS listener, under `--lan`: which connections leave for the side thread.

use crate::shard_transcripts::client::{self, peer};
use crate::shard_transcripts::words::{self, post};
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::placement::Placement;
use broker_core::settings::{Listen, Profile, Scheme, Settings};
use broker_core::shard::{Letter, Shard, Start};
use broker_core::time::Moment;
use std::net::Ipv4Addr;
use std::sync::Arc;

const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The listener of the local network, behind the two of loopback.
const OF_LAN: u16 = 2;
const PAGE: &[u8] = b"GET /try HTTP/1.1\r\nHost: 192.168.77.2:8443\r\n\r\n";

struct Server {
    shard: Shard,
    at: Moment,
}

impl Server {
    fn new(lan: Option<Ipv4Addr>) -> Self {
        let mut settings = Settings::new(Profile::Default, true);
        settings.lan = lan;
        settings.listen.truncate(usize::from(OF_LAN));
        settings.listen.push(Listen {
            scheme: Scheme::Https,
            addr: (LAN, 8443).into(),
        });
        let placement = Placement::new([1, 2, 3, 4], 1);
        let start = Start::bare(Arc::new(settings), ShardId(0), placement, [5, 6, 7, 8]);
        Self {
            shard: Shard::new(start),
            at: words::first_moment(),
        }
    }

    fn open(&mut self, listener: u16, tls: bool) -> SessionKey {
        let peer = Peer {
            listener,
            tls,
            ..peer()
        };
        let session = self.shard.open(peer, self.at).expect("there is room");
        if tls {
            self.shard.handle(Input::Secured { session }, self.at);
        }
        session
    }

    /// Whether the connection leaves for the side thread after these bytes.
    fn leaves(&mut self, session: SessionKey, bytes: &[u8]) -> bool {
        let mut bytes = bytes.to_vec();
        let bytes = &mut bytes[..];
        self.shard
            .handle(Input::Received { session, bytes }, self.at);
        let mut leaves = false;
        while let Some(output) = self.shard.poll_output() {
            leaves |= matches!(output, Output::Admin(key) if key == session);
        }
        leaves
    }

    fn answer(&self, session: SessionKey) -> String {
        String::from_utf8_lossy(self.shard.queued(session)).into_owned()
    }
}

#[test]
fn a_page_leaves_with_all_that_came_and_a_call_before_it_is_answered() {
    let mut server = Server::new(Some(LAN));
    let session = server.open(OF_LAN, true);
    let call = post("/listSignalingChannels", "{}");
    assert!(!server.leaves(session, &call));
    let answered = server.answer(session);
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    server
        .shard
        .handle(client::sent(session, answered.len()), server.at);
    assert!(server.leaves(session, &[PAGE, b"more"].concat()));
    let mut parcel = server.shard.release(session);
    let passed_on = Shard::passed_on(&mut parcel).expect("it goes to the side thread");
    assert_eq!(passed_on.bytes, [PAGE, b"more"].concat());
    // There is no room for it.
    let back = server.shard.bounce(parcel, server.at);
    let refused = server.answer(back);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
}

#[test]
fn pages_are_on_that_listener_alone_and_under_lan_alone() {
    for (lan, listener, tls, leaves) in [
        (Some(LAN), OF_LAN, true, true),
        (Some(LAN), 1, true, false),
        (Some(LAN), 0, false, false),
        (None, OF_LAN, true, false),
    ] {
        let mut server = Server::new(lan);
        let session = server.open(listener, tls);
        assert_eq!(server.leaves(session, PAGE), leaves, "{lan:?} {listener}");
        if !leaves {
            let refused = server.answer(session);
            assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
        }
    }
}

#[test]
fn a_foreign_page_is_refused_before_and_so_is_a_visit_in_a_drain() {
    let mut server = Server::new(Some(LAN));
    let session = server.open(OF_LAN, true);
    let foreign =
        b"GET /try HTTP/1.1\r\nHost: 192.168.77.2\r\nOrigin: https://evil.example\r\n\r\n";
    assert!(!server.leaves(session, foreign));
    let refused = server.answer(session);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let late = server.open(OF_LAN, true);
    let drain = Input::Letter(Letter::Drain(10_000));
    server.shard.handle(drain, server.at);
    assert!(!server.leaves(late, PAGE));
    let refused = server.answer(late);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
}
