//! Bytes that wait: for readers that never read, and for peers that never come. Both fill what a shard has of it;
//! those who hold less than their share are served all the same.

use super::{ATTACKER, Attack, Trial, broker, most_unread};
use crate::peer::{Peer, candidate, candidate_to, master_query, viewer_query};
use crate::process::{Broker, arn};
use std::thread;
use std::time::{Duration, Instant};
use testkit::until_true;

/// Budgets that an attack fills in a second.
const SMALL: &str = "[limits]
outbox_bytes = 131072
outbox_bytes_per_shard = 1048576
pending_bytes_per_channel = 131072
pending_bytes_per_shard = 1048576
";

/// Channels of readers that do not read, and readers of each.
const CHANNELS: usize = 2;
const READERS: usize = 8;

#[test]
fn readers_that_never_read_are_closed_the_slowest_first() {
    let broker = broker(SMALL, 1);
    let outcome = Trial::new("slow readers", &broker)
        .lasting(Duration::from_secs(4))
        .run(|attack| {
            thread::scope(|scope| {
                for number in 0..CHANNELS {
                    let broker = &broker;
                    scope.spawn(move || feed_the_deaf(broker, attack, number));
                }
                while !attack.over() {
                    let unread = most_unread(&broker);
                    assert!(unread <= 131_072 + 4096, "the kernel holds {unread} bytes");
                    thread::sleep(Duration::from_millis(50));
                }
            });
        });
    let scrape = broker.scrape();
    assert!(outcome.did > 0);
    let refused =
        scrape.sum("heliograph_messages_total{action=\"SDP_OFFER\",outcome=\"overflow\"}");
    assert_eq!(refused, 0.0, "the healthy send offers, the attackers none");
    broker.assert_balanced();
}

/// A reader holds its outbox's bytes in the kernel at most, also where they count as delivered without a proof, and
/// nothing soon after it was cut off, although it stays. What it did not acknowledge goes to its next connection.
#[test]
fn what_a_reader_does_not_read_is_bounded_and_freed() {
    for limits in ["", "[limits]\nunconfirmed_bytes_total = 65536\n"] {
        let broker = broker(&format!("{limits}[timeouts]\nclose = \"1s\""), 1);
        let arn = arn("deaf");
        let connect = |query: &str| Peer::plain_from(ATTACKER, &broker, query);
        let reader = connect(&viewer_query(&arn, "v"));
        let mut master = connect(&master_query(&arn));
        let filler = "A".repeat(32_000);
        let mut most = 0;
        until_true("the end of the reader", || {
            master.send(&candidate_to("v", &filler));
            most = most.max(most_unread(&broker));
            broker.log().contains("reason=slow_consumer")
        });
        let since = Instant::now();
        until_true("the kernel's memory", || most_unread(&broker) == 0);
        // Else the kernel keeps it for half a minute.
        assert!(since.elapsed() < Duration::from_secs(8), "{limits}");
        // The kernel adapted the buffer of requests, of 32 KiB, to a WebSocket.
        assert!(
            (256 << 10..=(1 << 20) + 4096).contains(&most),
            "{limits}{most}"
        );
        let text = connect(&viewer_query(&arn, "v")).receive();
        assert!(text.into_text().expect("a text").contains(&filler));
        drop((reader, master));
        broker.assert_balanced();
    }
}

/// A master that sends to readers that do not read, and connects them again when they were closed.
fn feed_the_deaf(broker: &Broker, attack: &Attack, number: usize) {
    let arn = arn(&format!("deaf-{number}"));
    let mut master = Peer::plain_from(ATTACKER, broker, &master_query(&arn));
    let filler = "A".repeat(32_000);
    let id = |reader: usize| format!("v{reader}");
    let connect = |reader| {
        let query = viewer_query(&arn, &id(reader));
        Peer::plain_from(ATTACKER, broker, &query)
    };
    while !attack.over() {
        // More for each than what two kernels hold for a socket on loopback and what its outbox may.
        let readers: Vec<Peer> = (0..READERS).map(connect).collect();
        for message in 0..READERS * 450 {
            if attack.over() {
                break;
            }
            master.send(&candidate_to(&id(message % READERS), &filler));
            attack.did(1);
        }
        drop(readers);
    }
}

#[test]
fn messages_for_peers_that_never_come_leave_room_for_others() {
    let broker = broker(SMALL, 1);
    let outcome = Trial::new("absent peers", &broker).run(|attack| {
        let filler = "A".repeat(32_000);
        let mut senders: Vec<Peer> = (0..20)
            .map(|number| {
                let query = viewer_query(&arn(&format!("absent-{number}")), "v");
                Peer::plain_from(ATTACKER, &broker, &query)
            })
            .collect();
        // Far more than the shard keeps.
        for _ in 0..20 {
            for sender in &mut senders {
                sender.send(&candidate(&filler));
                attack.did(1);
            }
        }
        // And so small that nothing else fits in between.
        for number in 0..25 {
            for sender in &mut senders {
                sender.send(&candidate(&filler[..100 + number * 20]));
                attack.did(1);
            }
        }
        for sender in &mut senders {
            sender.expect_silence();
        }
        let kept = broker.scrape().sum("heliograph_pending_bytes");
        // The free part depends on the order in which the senders came; it is less than one of their large messages.
        assert!(
            (1_016_000.0..=1_048_576.0).contains(&kept),
            "{kept} bytes are kept"
        );
        // A channel that keeps nothing is served: its offer, for which there is no room, and candidates wait for its
        // master.
        let (quiet, offer) = (arn("quiet"), "A".repeat(32_760));
        let mut viewer = Peer::plain_from(super::HEALTHY, &broker, &viewer_query(&quiet, "v1"));
        let evicted = evicted_candidates(&broker);
        viewer.send(&crate::peer::offer(&offer));
        for number in 0..10 {
            viewer.send(&candidate(&format!("candidate{number:03}")));
        }
        viewer.expect_silence();
        assert!(evicted_candidates(&broker) > evicted, "somebody made room");
        let mut master = Peer::plain_from(super::HEALTHY, &broker, &master_query(&quiet));
        master.expect(&crate::peer::to_master("SDP_OFFER", &offer, "v1"));
        for number in 0..10 {
            let payload = format!("candidate{number:03}");
            master.expect(&crate::peer::to_master("ICE_CANDIDATE", &payload, "v1"));
        }
        for sender in senders {
            sender.close();
        }
    });
    assert_eq!(outcome.did, 900);
    broker.assert_balanced();
}

fn evicted_candidates(broker: &Broker) -> f64 {
    let scrape = broker.scrape();
    scrape.sum("heliograph_messages_total{action=\"ICE_CANDIDATE\",outcome=\"evicted\"}")
}
