//! The conservation law at every scrape while messages are under way: what was received has ended, is kept or waits.

use crate::peer::{HealthyPair, Peer, candidate, offer};
use crate::process::{Broker, arn};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Pairs that relay while the broker is scraped.
const PAIRS: usize = 12;
/// Scrapes that each must balance.
const SCRAPES: usize = 40;

on_shards!(every_scrape_balances_under_load);

fn every_scrape_balances_under_load(broker: &Broker) {
    let over = AtomicBool::new(false);
    let pairs: Vec<HealthyPair> = (0..PAIRS)
        .map(|number| HealthyPair::on(broker, &arn(&format!("pair-{number}"))))
        .collect();
    let mut alone = Peer::viewer(broker, &arn("alone"), "v");
    let waiting = thread::scope(|scope| {
        let over = &over;
        for mut pair in pairs {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    pair.relay();
                }
            });
        }
        scope.spawn(move || {
            // Nobody is there for these: they are kept, overwritten, dropped.
            while !over.load(Ordering::Relaxed) {
                alone.send(&offer("b2ZmZXI="));
                alone.send(&candidate("Y2FuZA=="));
            }
            alone.close();
        });
        let waiting = panic::catch_unwind(AssertUnwindSafe(|| scraped(broker)));
        // Also when a scrape did not balance: the others would relay forever.
        over.store(true, Ordering::Relaxed);
        waiting.unwrap_or_else(|cause| panic::resume_unwind(cause))
    });
    assert!(waiting > 0, "some scrape saw a message that was kept");
    let last = broker.scrape();
    let delivered = last.sum("heliograph_delivery_seconds_count");
    let answers = last.sum("heliograph_session_setup_seconds_count");
    assert!(delivered >= PAIRS as f64 * 4.0, "{delivered} measured");
    assert!(
        (answers - PAIRS as f64).abs() < 0.5,
        "{answers} viewers were answered"
    );
}

/// The number of scrapes that saw messages that wait.
fn scraped(broker: &Broker) -> usize {
    let (mut before, mut waiting) = (0.0, 0);
    for _ in 0..SCRAPES {
        let now = broker.scrape();
        let received = now.sum("heliograph_messages_received_total");
        let ended = now.sum("heliograph_messages_total");
        let kept = now.sum("heliograph_pending_messages");
        let under_way = now.sum("heliograph_outbox_messages");
        assert!(
            (received - ended - kept - under_way).abs() < 0.5,
            "{received} received, {ended} ended, {kept} kept, {under_way} under way"
        );
        assert!(received >= before, "counters only grow");
        before = received;
        waiting += usize::from(kept + under_way > 0.0);
    }
    waiting
}
