//! Watchers cost clients nothing: the relay is as fast with 32 of them, of which one never reads, and they share what
//! waits for them.

use crate::attacks::{broker, resident_bytes};
use crate::http::{Connection, get, request};
use crate::operator::events::Watcher;
use crate::peer::HealthyPair;
use crate::process::{Broker, arn};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The most streams that a broker has.
const WATCHERS: usize = 32;

/// Beyond the noise of a busy machine, and far below what waiting for a watcher would take.
const SLOWER_MAX: u32 = 20;
const LATENCY_MAX: Duration = Duration::from_millis(250);

/// Requests that one connection makes.
const TOGETHER: usize = 8;

/// Long enough for events that a stream kept for itself to be many.
const WATCHED_FOR: Duration = Duration::from_secs(12);

/// Bytes that watchers may add, beside the refusals that are kept for all: 32 queues of the events of this test would
/// be above 100 MiB.
const MORE_BYTES_MAX: u64 = 32 << 20;

/// Refusals without end, each few from a network of its own, since the log shares its lines out among networks: every
/// stream gets each of them twice, as a refusal and as a line of the log, some 400 KiB a second in all.
fn refusals(broker: &Broker, over: &AtomicBool) {
    let body = json!({ "ChannelName": "n".repeat(250) }).to_string();
    let requests = request("/describeSignalingChannel", &body).repeat(TOGETHER);
    for network in (0..=u8::MAX).cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let from: IpAddr = Ipv4Addr::new(127, 20, network, 1).into();
        let mut connection = Connection::open_from(from, broker.plain);
        connection.send(&requests);
        for _ in 0..TOGETHER {
            assert_eq!(connection.answer().expect("an answer").status, 404);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The latency of exchanges: an offer, its answer, and a candidate each way.
#[derive(Debug)]
struct Latency {
    /// The slowest of a hundred.
    p99: Duration,
    /// The one that is under way at 95 of 100 moments takes no longer. A shard that pauses for a while delays one
    /// exchange alone, since the next one waits for it, but all moments of that while.
    at_moments: Duration,
}

fn latency(pairs: &mut [HealthyPair], lasting: Duration) -> Latency {
    let (began, mut all) = (Instant::now(), Vec::new());
    while began.elapsed() < lasting || all.len() < 400 {
        for pair in &mut *pairs {
            let sent = Instant::now();
            pair.relay();
            all.push(sent.elapsed());
        }
    }
    all.sort_unstable();
    let most = all.iter().sum::<Duration>() / 100 * 95;
    let mut below = Duration::ZERO;
    let mut at_moments = all.iter().skip_while(|took| {
        below += **took;
        below < most
    });
    Latency {
        p99: all[all.len() * 99 / 100],
        at_moments: *at_moments.next().expect("one of all"),
    }
}

/// A connection whose sockets hold so little that one who does not read stalls the other end at once.
fn narrow(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(536).expect("short segments");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&to.into()).expect("the admin listener");
    socket.into()
}

/// Ends what runs beside the test, also when the test fails.
struct Beside<'t> {
    over: &'t AtomicBool,
    streams: Vec<TcpStream>,
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn watchers_cost_clients_nothing() {
    let broker = broker("", 4);
    let pair = |number: u8| HealthyPair::on(&broker, &arn(&format!("watched-{number}")));
    let mut pairs: Vec<HealthyPair> = (0..4).map(pair).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut beside = Beside {
            over: &over,
            streams: Vec::new(),
        };
        scope.spawn(|| refusals(&broker, &over));
        let quiet = latency(&mut pairs, Duration::from_secs(2));
        let before = resident_bytes(&broker);
        for number in 0..WATCHERS {
            let topics = "overview,troubled,refusals,log";
            let mut watcher = if number == 0 {
                Watcher::on(narrow(broker.admin), topics)
            } else {
                Watcher::open(broker.admin, topics)
            };
            assert_eq!(watcher.status(), 200);
            let stream = watcher.into_stream();
            let mut reader = stream.try_clone().expect("a socket");
            beside.streams.push(stream);
            // The first reads no more.
            if number > 0 {
                scope.spawn(move || while matches!(reader.read(&mut [0; 65536]), Ok(1..)) {});
            }
        }
        let full = get(broker.admin, "/events?topics=overview");
        assert_eq!(full.status, 503);
        assert!(full.text().contains("32 event streams"), "{}", full.text());
        let watched = latency(&mut pairs, WATCHED_FOR);
        let after = resident_bytes(&broker);
        let open = broker.scrape().sum("heliograph_streams");
        eprintln!("watchers: quiet {quiet:?}, watched {watched:?}, {before} and {after} bytes");
        assert!((open - 32.0).abs() < 0.5, "{open} streams to the end");
        for (quiet, watched) in [
            (quiet.p99, watched.p99),
            (quiet.at_moments, watched.at_moments),
        ] {
            let most = (quiet * SLOWER_MAX).max(LATENCY_MAX);
            assert!(
                watched <= most,
                "{watched:?} with watchers, {quiet:?} without"
            );
        }
        let more = after.saturating_sub(before);
        assert!(more <= MORE_BYTES_MAX, "{more} bytes more");
    });
    drop(pairs);
    broker.assert_balanced();
}
