//! Clients that are far away: the kernel adapts the send buffer of a WebSocket to the path, and none before.

use super::VIEWER;
use super::site::{Door, Site};
use crate::attacks::most_unread;
use crate::peer::{candidate_to, master_query, viewer_query};
use crate::process::arn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Half a round trip.
const DELAY: Duration = Duration::from_millis(50);

/// Messages on their way, and all. That is 5 MB a second.
const WINDOW: usize = 8;
const MESSAGES: usize = 300;

/// What they take with the buffer of a request is 7 s or more.
const MOST: Duration = Duration::from_secs(5);

#[test]
#[ignore = "needs root"]
fn a_viewer_far_away_gets_as_much_as_its_window_allows() {
    let Some(site) = Site::new(1) else { return };
    let broker = site.broker("");
    let [plain, _] = Door::both(&broker);
    let arn = arn("cam-far");
    let _link = site.slow_link(0, DELAY, 0);
    let mut viewer = site.on(0, || plain.connect(&viewer_query(&arn, VIEWER)));
    let mut master = plain.connect(&master_query(&arn));
    let message = candidate_to(VIEWER, &"A".repeat(32_000));
    let begin = Instant::now();
    for _ in 0..WINDOW {
        master.send(&message);
    }
    for _ in 0..MESSAGES {
        viewer.receive();
        master.send(&message);
    }
    let took = begin.elapsed();
    eprintln!("{MESSAGES} messages in {took:?}");
    assert!(took < MOST, "{took:?}");
}

/// Also when it has read for long, so that the path would take more.
#[test]
#[ignore = "needs root"]
fn answers_to_a_client_far_away_stay_few_in_the_kernel() {
    let Some(site) = Site::new(1) else { return };
    let broker = site.broker("");
    let _link = site.slow_link(0, DELAY, 0);
    let mut client = site.on(0, || TcpStream::connect(broker.plain)).unwrap();
    client
        .set_write_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    let mut requests = client.try_clone().unwrap();
    let burst = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    // Until it is cut off, or its own kernel is full.
    let asks = thread::spawn(move || while requests.write_all(&burst).is_ok() {});
    let (begin, mut most, mut bytes) = (Instant::now(), 0, vec![0; 1 << 20]);
    while begin.elapsed() < Duration::from_secs(8) {
        if begin.elapsed() < Duration::from_secs(4) {
            assert!(client.read(&mut bytes).unwrap() > 0);
        }
        most = most.max(most_unread(&broker));
    }
    drop(client);
    asks.join().unwrap();
    eprintln!("{most} bytes in the kernel");
    assert!((16 << 10..=128 << 10).contains(&most), "{most}");
}
