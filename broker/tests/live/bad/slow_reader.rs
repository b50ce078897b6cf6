//! A recipient that never reads: its outbox is bounded, its senders are not held up, and its neighbours notice nothing.

use crate::peer::{HealthyPair, Peer, candidate, offer, to_master};
use crate::process::{Broker, arn};

on_shards!(a_master_that_never_reads_is_let_go);

/// More than the outbox (1 MiB) and what two kernels hold for a socket on loopback.
const MESSAGES: usize = 900;

fn a_master_that_never_reads_is_let_go(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let arn = arn("attacked");
    let mut stuck = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let filler = "A".repeat(32_000);
    for n in 0..MESSAGES {
        viewer.send(&candidate(&format!("{n:08}{filler}")));
        if n % 50 == 0 {
            pair.relay();
        }
    }
    viewer.expect_silence();
    pair.relay();
    let (texts, code) = stuck.drain();
    assert!(
        texts.len() < MESSAGES,
        "all of it fitted somewhere: the outbox was never full"
    );
    assert!(code.is_none_or(|code| u16::from(code) == 1008), "{code:?}");
    // Whole messages in order, without a gap.
    for (n, text) in texts.iter().enumerate() {
        assert_eq!(sequence(text), n);
    }
    let mut next = Peer::master(broker, &arn);
    viewer.send(&offer("bWFya2Vy"));
    // What the former connection read after the broker had given it up comes again: it confirmed nothing of it in time.
    let mut last = None;
    loop {
        let text = next.receive().into_text().expect("a text");
        if text.as_str() == to_master("SDP_OFFER", "bWFya2Vy", "v1") {
            break;
        }
        let n = sequence(text.as_str());
        assert!(
            last.is_none_or(|last| last < n),
            "{n} after {last:?}: repeated or out of order"
        );
        last = Some(n);
    }
    pair.relay();
    let overflow = broker
        .scrape()
        .sum("heliograph_messages_total{action=\"ICE_CANDIDATE\",outcome=\"overflow\"}");
    assert!(overflow > 0.0, "what found no room is counted");
}

fn sequence(text: &str) -> usize {
    let digits = text
        .strip_prefix(r#"{"messagePayload":""#)
        .and_then(|rest| rest.get(..8));
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("not a candidate: {:?}", text.get(..60)))
}
