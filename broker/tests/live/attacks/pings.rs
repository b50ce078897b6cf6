//! Pings and pongs, all of them valid: from a crowd that keeps within what a client may send, and from floods of many
//! connections.

use super::{ATTACKER, Attack, HEALTHY, Trial, broker};
use crate::peer::{Peer, viewer_query};
use crate::process::{Broker, arn};
use std::thread;
use std::time::Duration;
use tungstenite::Message;

/// Connections that keep within the limit, and that do not.
const PATIENT: usize = 40;
const FLOODERS: usize = 24;

/// Between two rounds of the patient, of a ping and a pong each: half as many frames as are allowed.
const ROUND: Duration = Duration::from_millis(20);

/// Pings of a connection that are answered before it floods: more than make it one of many others, and fewer than are
/// allowed.
const CALM: u64 = 80;

/// The longest that a control frame may be, as its header says it.
const LENGTH: u8 = 125;
const PAYLOAD: usize = LENGTH as usize;

/// Bytes that may wait for a connection that does not read: the bound, and the pongs of one receive.
const CONTROL_BYTES: usize = (64 << 10) + 16 * (PAYLOAD + 2);

const CONFIGURATION: &str = "[limits]\nviewers_per_channel = 100\n";

#[test]
fn pings_are_answered_and_floods_of_them_cut_off() {
    let broker = broker(CONFIGURATION, 1);
    let mut answered = 0;
    let outcome = Trial::new("pings and pongs", &broker).run(|attack| {
        thread::scope(|scope| {
            for number in 0..FLOODERS {
                let broker = &broker;
                scope.spawn(move || flood(broker, attack, number));
            }
            answered = patient(&broker, attack);
        });
    });
    assert!(answered > 0 && outcome.did > 0, "{answered} {outcome:?}");
    broker.assert_balanced();
}

/// A crowd whose every ping is answered, with what it said, while the flood goes on; returns how many rounds there
/// were.
fn patient(broker: &Broker, attack: &Attack) -> u64 {
    let connect = |number| {
        let query = viewer_query(&arn("pinged"), &format!("patient-{number}"));
        Peer::plain_from(HEALTHY, broker, &query)
    };
    let mut crowd: Vec<Peer> = (0..PATIENT).map(connect).collect();
    let mut rounds = 0_u64;
    while rounds == 0 || !attack.over() {
        let said = format!("{rounds:0PAYLOAD$}");
        for peer in &mut crowd {
            peer.send_message(Message::Ping(said.clone().into()));
            peer.send_message(Message::Pong("unasked".into()));
        }
        for peer in &mut crowd {
            let answer = peer.receive();
            assert_eq!(answer, Message::Pong(said.clone().into()));
        }
        if let Some(scrape) = broker.try_scrape() {
            let waiting = scrape.sum("heliograph_control_bytes");
            let most = (FLOODERS * CONTROL_BYTES + PATIENT * PAYLOAD) as f64;
            assert!(waiting <= most, "{waiting} bytes of pongs wait");
        }
        rounds += 1;
        thread::sleep(ROUND);
    }
    for peer in crowd {
        peer.close();
    }
    rounds
}

/// Connects, sends pings, or pongs, without reading until it is cut off with 1008, again and again. Half of them behave
/// well first: so they are read as others are.
fn flood(broker: &Broker, attack: &Attack, number: usize) {
    let query = viewer_query(&arn("flooded"), &format!("v{number}"));
    let frame = |first: u8| [&[first, 0x80 | LENGTH, 0, 0, 0, 0][..], &[b'x'; PAYLOAD]].concat();
    // Pings or pongs, so that each alone is too much.
    let frames = frame(if number.is_multiple_of(2) { 0x89 } else { 0x8a }).repeat(400);
    while !attack.over() {
        let mut flooder = Peer::plain_from(ATTACKER, broker, &query);
        for _ in 0..if number % 4 < 2 { CALM } else { 0 } {
            flooder.send_message(Message::Ping("well".into()));
            assert_eq!(flooder.receive(), Message::Pong("well".into()));
        }
        let _ = (0..64).try_for_each(|_| flooder.send_bytes(&frames));
        let (_, code) = flooder.drain();
        assert!(code.is_none_or(|code| u16::from(code) == 1008), "{code:?}");
        attack.did(1);
    }
}
