//! The conservation law at every scrape while messages are under way: what was received has ended, is kept or waits.

use crate::peer::{HealthyPair, Peer, candidate, offer};
use crate::process::{Broker, arn};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use testkit::{Scrape, until};

/// Pairs that relay while the broker is scraped.
const PAIRS: usize = 12;
/// Scrapes that each must balance.
const SCRAPES: usize = 40;

/// Messages that are not accepted.
const WRONG: usize = 120;

on_shards!(every_scrape_balances_under_load);

fn every_scrape_balances_under_load(broker: &Broker) {
    let over = AtomicBool::new(false);
    let pairs: Vec<HealthyPair> = (0..PAIRS)
        .map(|number| HealthyPair::on(broker, &arn(&format!("pair-{number}"))))
        .collect();
    let mut alone = Peer::viewer(broker, &arn("alone"), "v");
    let mut wrong = Peer::master(broker, &arn("wrong"));
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
        scope.spawn(move || {
            // Fewer than close a connection, within whatever second.
            let long = offer(&"QUFB".repeat(11_000));
            for text in ["[1]", "{}", r#"{"action":"SDP_OFFER"}"#, &long].repeat(WRONG / 4) {
                wrong.send(text);
            }
            wrong.close();
        });
        let waiting = panic::catch_unwind(AssertUnwindSafe(|| scraped(broker)));
        // Also when a scrape did not balance: the others would relay forever.
        over.store(true, Ordering::Relaxed);
        waiting.unwrap_or_else(|cause| panic::resume_unwind(cause))
    });
    assert!(waiting > 0, "some scrape saw a message that was kept");
    viewers_are_counted_at_their_end(broker);
    let last = broker.scrape();
    bytes_and_calls_are_counted(&last);
    let delivered = last.sum("heliograph_delivery_seconds_count");
    let answers = last.sum("heliograph_session_setup_seconds_count");
    assert!(delivered >= PAIRS as f64 * 4.0, "{delivered} measured");
    for reason in ["not_json", "unknown_action", "no_payload", "too_long"] {
        let label = format!("reason=\"{reason}\"");
        let found = last.sum_with("heliograph_messages_unaccepted_total", &label);
        assert!(
            (found - (WRONG / 4) as f64).abs() < 0.5,
            "{reason}: {found}"
        );
    }
    assert!(
        (answers - PAIRS as f64).abs() < 0.5,
        "{answers} viewers were answered"
    );
}

/// Each pair's viewer was answered, and the one without a master was not.
fn viewers_are_counted_at_their_end(broker: &Broker) {
    let wanted = [
        ("answered", PAIRS),
        ("unanswered", 1),
        ("no_offer", 0),
        ("cut_short", 0),
    ];
    let counted = || {
        let scrape = broker.scrape();
        let of = |outcome: &str| {
            let label = format!("outcome=\"{outcome}\"");
            scrape.sum_with("heliograph_viewer_sessions_total", &label)
        };
        let each = wanted.map(|(outcome, count)| (of(outcome), count as f64));
        (each, scrape.sum("heliograph_viewer_sessions_total"))
    };
    until("the end of all viewers", || {
        (counted().1 > PAIRS as f64 + 0.5).then_some(())
    });
    let (each, _) = counted();
    assert!(each.iter().all(|(is, should)| is == should), "{each:?}");
}

/// Each connection that was accepted has sent something and got something; of what was sent, payloads are a part.
fn bytes_and_calls_are_counted(scrape: &Scrape) {
    let [accepted, receives, sends, bytes] = [
        "heliograph_accepted_total",
        "heliograph_receives_total",
        "heliograph_sends_total",
        "heliograph_sent_bytes_total",
    ]
    .map(|name| scrape.sum(name));
    assert!(
        receives >= accepted && sends >= accepted,
        "{receives} receives, {sends} sends of {accepted} connections"
    );
    let delivered = scrape.sum("heliograph_delivery_seconds_count");
    let payloads = delivered * "healthy00000001=".len() as f64;
    assert!(
        bytes >= payloads,
        "{bytes} sent, of which {payloads} are payloads"
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
        let under_way =
            now.sum("heliograph_outbox_messages") + now.sum("heliograph_written_messages");
        assert!(
            (received - ended - kept - under_way).abs() < 0.5,
            "{received} received, {ended} ended, {kept} kept, {under_way} under way"
        );
        assert!(received >= before, "counters only grow");
        for outcome in ["refused", "throttled", "overflow"] {
            let label = format!("outcome=\"{outcome}\"");
            let of = |name| now.sum_with(name, &label);
            let (all, with_reason) = (
                of("heliograph_messages_total"),
                of("heliograph_messages_unaccepted_total"),
            );
            assert!(
                (all - with_reason).abs() < 0.5,
                "{outcome}: {all}, {with_reason}"
            );
        }
        before = received;
        waiting += usize::from(kept + under_way > 0.0);
    }
    waiting
}
