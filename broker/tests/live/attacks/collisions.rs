//! Names that collide under every hash whose key anybody knows: channels that would all live on one shard, client ids
//! that would all lie in one bucket, header names and query keys too. They cost what random names cost.

use super::gauges::Watched;
use super::{ATTACKER, Attack, Trial, broker, full};
use crate::http::{Connection, create, get};
use crate::peer::{Peer, candidate_to, master_query, to_viewer, viewer_query};
use crate::process::{Broker, arn};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The most work of names that collide, in multiples of that of others (full runs): a head, and a message to a client
/// id, of which a look-up is a small part.
const RATIO_MAX: f64 = 1.5;
const MESSAGE_RATIO_MAX: f64 = 1.25;

/// Hashes without a secret.
type Known = fn(&str) -> u64;
#[rustfmt::skip] // a table, a case per row
const KNOWN: [(&str, Known); 4] = [
    ("ahash-zero", |text| { ahash::RandomState::with_seeds(0, 0, 0, 0).hash_one(text) }),
    ("ahash-counted", |text| { ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(text) }),
    ("siphash", |text| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }),
    ("fxhash", fx),
];

/// Channels made for each hash, and the shards that they meet.
const CHANNELS: usize = 128;
const SHARDS: u16 = 2;

/// The hash of rustc's maps for a string: two steps for each 16 bytes.
fn fx(text: &str) -> u64 {
    let words = text.as_bytes().chunks(8).map(|word| {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        u64::from_le_bytes(bytes)
    });
    words.fold(0, step)
}

fn step(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95)
}

#[test]
fn channels_spread_whatever_their_names() {
    let broker = broker("", SHARDS);
    let outcome = Trial::new("colliding channel names", &broker).run(|attack| {
        for (hash, known) in KNOWN {
            let on_one = |name: &String| {
                let identity = format!("us-west-2:123456789012:{name}");
                known(&identity).is_multiple_of(u64::from(SHARDS))
            };
            let names = (0..).map(|number| format!("{hash}-{number}"));
            for name in names.filter(on_one).take(CHANNELS) {
                create(broker.plain, &name, 60);
                attack.did(1);
            }
            let page = get(
                broker.admin,
                &format!("/channels?prefix={hash}-&limit=1000"),
            )
            .json();
            let mut homes = BTreeMap::<u64, usize>::new();
            for channel in page["channels"].as_array().expect("a page") {
                *homes
                    .entry(channel["shard"].as_u64().expect("a number"))
                    .or_default() += 1;
            }
            let most = homes.values().copied().max().unwrap_or(0);
            // By chance this many are on one once in 10^7 runs.
            assert!(most <= CHANNELS * 3 / 4, "{hash}: {homes:?}");
        }
    });
    assert!(
        outcome.did >= (KNOWN.len() * CHANNELS) as u64,
        "{outcome:?}"
    );
    broker.assert_balanced();
}

#[test]
fn client_ids_that_collide_cost_what_others_cost() {
    let viewers = if full() { 512 } else { 64 };
    let configuration = format!("[limits]\nviewers_per_channel = {viewers}\n");
    let broker = broker(&configuration, 1);
    let low_bits = |known: Known| -> Vec<String> {
        let ids = (0_u64..).map(|number| format!("{number:0>256}"));
        ids.filter(|id| known(id).is_multiple_of(1024))
            .take(viewers)
            .collect()
    };
    let random: Vec<String> = (0..viewers)
        .map(|number| format!("{:0>256}", number * 7919))
        .collect();
    let (mut usual, mut most) = (0.0, 0.0_f64);
    let trial = Trial::new("colliding client ids", &broker).without_newcomers();
    trial.run(|attack| {
        usual = micros_per_message(&broker, attack, "random", &random);
        for (channel, ids) in [
            ("siphash", low_bits(KNOWN[2].1)),
            ("ahash", low_bits(KNOWN[0].1)),
            ("fxhash", fx_collisions(viewers)),
        ] {
            let cost = micros_per_message(&broker, attack, channel, &ids);
            eprintln!("{channel}: {cost:.2} µs a message, {usual:.2} to ids of chance");
            most = most.max(cost);
        }
    });
    if full() {
        assert!(
            most <= usual * MESSAGE_RATIO_MAX,
            "{most} µs a message, {usual} to ids of chance"
        );
    }
    broker.assert_balanced();
}

/// Client ids of 256 characters that are all the same to [`fx`]: pairs of 16 that lead from one state to one other,
/// chosen again for each of 16 places.
fn fx_collisions(many: usize) -> Vec<String> {
    let mut ids = vec![String::new()];
    let mut state = 0;
    for _ in 0..16 {
        let (one, other, next) = fx_pair(state);
        state = next;
        let tails = if ids.len() < many {
            vec![one, other]
        } else {
            vec![one]
        };
        ids = ids
            .iter()
            .flat_map(|id| tails.iter().map(move |tail| format!("{id}{tail}")))
            .collect();
    }
    ids.truncate(many);
    assert!(ids.iter().all(|id| id.len() == 256 && fx(id) == state));
    ids
}

/// Two texts of 16 letters and digits that lead from this state to one other.
fn fx_pair(state: u64) -> (String, String, u64) {
    let word = |text: &str| u64::from_le_bytes(text.as_bytes().try_into().expect("8 bytes"));
    let first = "AAAAAAAA";
    let after = step(state, word(first)).rotate_left(5);
    // The second word undoes the difference of the first, which it can where both bytes of each place are letters or
    // digits.
    for number in 0_u64.. {
        // Its first characters change first: those behind have no effect on the low bytes.
        let second: String = format!("{number:08x}").chars().rev().collect();
        let change = (step(state, word(&second)).rotate_left(5) ^ after).to_le_bytes();
        let pairs = change.map(|change| {
            let mut letters = (b'0'..=b'z').filter(u8::is_ascii_alphanumeric);
            letters
                .find(|letter| (letter ^ change).is_ascii_alphanumeric())
                .map(|letter| (letter, letter ^ change))
        });
        if pairs.iter().all(Option::is_some) {
            let pairs = pairs.map(Option::unwrap_or_default);
            let text = |bytes: [u8; 8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
            let one = format!("{first}{}", text(pairs.map(|(one, _)| one)));
            let other = format!("{second}{}", text(pairs.map(|(_, other)| other)));
            let next = fx_from(state, &one);
            assert_eq!(next, fx_from(state, &other));
            return (one, other, next);
        }
    }
    unreachable!("the numbers end")
}

fn fx_from(state: u64, text: &str) -> u64 {
    text.as_bytes().chunks(8).fold(state, |state, word| {
        step(state, u64::from_le_bytes(word.try_into().expect("8 bytes")))
    })
}

/// A master sends to each of these viewers in turn, who get what is theirs; returns what a message takes.
fn micros_per_message(broker: &Broker, attack: &Attack, channel: &str, ids: &[String]) -> f64 {
    let arn = arn(channel);
    let mut master = Peer::plain_from(ATTACKER, broker, &master_query(&arn));
    let connect = |id: &String| Peer::plain_from(ATTACKER, broker, &viewer_query(&arn, id));
    let mut viewers: Vec<Peer> = ids.iter().map(connect).collect();
    let rounds = if full() { 50 } else { 2 };
    let watched = Watched::new(broker);
    let before = watched.thread_times();
    for round in 0..rounds {
        for (number, id) in ids.iter().enumerate() {
            master.send(&candidate_to(id, &payload(round, number)));
        }
        for (number, viewer) in viewers.iter_mut().enumerate() {
            viewer.expect(&to_viewer("ICE_CANDIDATE", &payload(round, number)));
        }
    }
    let spent = watched.busiest_since(&before, Duration::from_secs(1));
    let messages = rounds * ids.len();
    attack.did(messages as u64);
    viewers.into_iter().for_each(Peer::close);
    master.close();
    spent * 1e6 / messages as f64
}

fn payload(round: usize, number: usize) -> String {
    format!("round{round:03}to{number:06}")
}

#[test]
fn headers_and_query_keys_that_collide_cost_what_others_cost() {
    let broker = broker("", 1);
    let collide = fx_collisions(512);
    let random: Vec<String> = (0..512)
        .map(|number| format!("{:0>256}", number * 7919))
        .collect();
    let (mut usual, mut cost) = ((0.0, 0.0), (0.0, 0.0));
    let trial = Trial::new("colliding headers and query keys", &broker).without_newcomers();
    trial.run(|attack| {
        usual = (
            headers(&broker, attack, &random),
            keys(&broker, attack, &random),
        );
        cost = (
            headers(&broker, attack, &collide),
            keys(&broker, attack, &collide),
        );
    });
    eprintln!("{cost:?} µs a head of colliding names, {usual:?} of others");
    if full() {
        assert!(
            cost.0 <= usual.0 * RATIO_MAX && cost.1 <= usual.1 * RATIO_MAX,
            "{cost:?}, {usual:?}"
        );
    }
    broker.assert_balanced();
}

fn headers(broker: &Broker, attack: &Attack, names: &[String]) -> f64 {
    let lines: String = names
        .iter()
        .take(58)
        .map(|name| format!("{name}: x\r\n"))
        .collect();
    let head = format!("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    micros_per_head(broker, attack, &head, 404)
}

/// An upgrade that lacks its channel: all of its query is read before that is known.
fn keys(broker: &Broker, attack: &Attack, names: &[String]) -> f64 {
    let pairs: Vec<String> = names
        .iter()
        .take(60)
        .map(|name| format!("{name}="))
        .collect();
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let head = format!(
        "GET /?{} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n",
        pairs.join("&")
    );
    micros_per_head(broker, attack, &head, 400)
}

/// On a connection of its own each: an upgrade that is refused ends its connection.
fn micros_per_head(broker: &Broker, attack: &Attack, head: &str, status: u16) -> f64 {
    let heads = if full() { 3_000 } else { 50 };
    let watched = Watched::new(broker);
    let before = watched.thread_times();
    for _ in 0..heads {
        let mut connection = Connection::open_from(ATTACKER, broker.plain);
        connection.send(head.as_bytes());
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    attack.did(heads);
    watched.busiest_since(&before, Duration::from_secs(1)) * 1e6 / heads as f64
}
