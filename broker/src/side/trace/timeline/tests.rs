//! Tables of channels, written as transcripts. `script.rs` explains their format.

use super::script::*;
use super::*;

#[test]
fn the_table_of_hints() {
    let mut cases = Vec::new();
    for line in TABLE.lines() {
        match (line.strip_prefix("# "), line.strip_prefix(' ')) {
            (Some(name), _) => cases.push((name, Vec::<String>::new())),
            (None, Some(more)) => {
                let last = cases.last_mut().and_then(|(_, lines)| lines.last_mut());
                last.unwrap().push_str(&format!(" {}", more.trim()));
            }
            (None, None) => cases.last_mut().unwrap().1.push(line.into()),
        }
    }
    assert!(cases.len() > 50);
    for (name, lines) in cases {
        let [script, wanted @ ..] = &lines[..] else {
            panic!("{name} has a transcript")
        };
        let story = story(&script.replace("GOOD", GOOD));
        let done = "; what fails after it is ICE or TURN, not the broker";
        let wanted: Vec<String> = wanted.iter().map(|says| says.replace('…', done)).collect();
        assert_eq!(hints(&story), wanted, "{name}");
    }
}

#[test]
fn calls_belong_to_the_next_connection_of_their_address_role_and_client_id() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("0 a1 calls; 5 a1 calls:endpoint; 9 a1 calls:ice; 10 a1 joins; 20 a1 leaves; 30 a2 calls; 40 a2 joins; 50",
            vec![vec![0, 5, 9, 10, 20], vec![30, 40]]),
        ("0 b1 calls; 0 a1 calls; 15001 a1 joins; 15002", vec![vec![15_001]]),
        ("0 a1 joins; 9 a1 calls; 50", vec![vec![0]]),
    ];
    for (script, wanted) in cases {
        assert_eq!(moments(&story(script)), wanted, "{script}");
    }
}

/// A session without trouble that begins at 1 s.
const GOOD: &str = "0 M1 joins; 1000 a1 joins; 1003 a1 offer M1; 1004 a1 candidate*5 M1; 1065 M1 answer a1; \
                    1066 M1 candidate*5 a1";

/// Each entry has a name, a transcript, and the hints expected for it. A line that begins with a blank continues the
/// line before.
const TABLE: &str = "\
# a session as it should be
GOOD; 11000
a: signaling took 62 ms…
# confirmed by TCP
GOOD; 1100 a1 is:tcp; 11000
a: signaling took 62 ms, confirmed by 192.0.2.1, which is the proxy where one ends TCP…
# an answer that is not confirmed
GOOD; 1100 a1 is:doubtful; 11000
a: the answer was sent 62 ms after the offer, and the viewer's machine has not confirmed it: the viewer may be cut off,
 or have another network
# an answer that came back
GOOD; 1100 a1 leaves; 1100 M1 answer:unconfirmed a; 11000
a: the answer was sent 62 ms after the offer, and the viewer's machine has not confirmed it: it is kept for the
 viewer's next connection
# an offer that waited
0 a1 joins; 3 a1 offer:kept; 12403 M1 joins; 12403 a offer:delivered M1; 12465 M1 answer a1; 12466 M1 candidate a1;
 20000
a: the offer waited 12.4 s: no master was connected
a: once the master was connected, signaling took 62 ms…
# an offer that waits
0 a1 joins; 3 a1 offer:kept; 10003
a: the offer has waited 10.0 s so far: no master is connected
# an offer on its way to a master
0 M1 joins; 0 a1 joins; 3 a1 offer:kept; 10003
# a viewer that left while its offer was kept
0 a1 joins; 3 a1 offer:kept; 4006 a1 leaves; 9000
a: the viewer left 4.0 s after its offer, and no master had connected
# an offer that expired
0 a1 joins; 3 a1 offer:kept; 60003 a offer:expired; 70000
a: the offer was dropped after 60.0 s, the channel's MessageTtlSeconds: no master connected
# a master that sends nothing
0 M1 joins; 0 a1 joins; 2000 a1 offer M1; 10000
a: the offer went to the master 8.0 s ago, and it has sent nothing to this viewer
# a master that has had no time yet
0 M1 joins; 0 a1 joins; 9000 a1 offer M1; 10000
# a master whose messages are not accepted
0 M1 joins; 0 a1 joins; 1500 M1 junk:malformed; 2000 a1 offer M1; 3000 M1 junk:not_json; 3500 M1 junk:not_json; 10000
a: the offer went to the master 8.0 s ago, and nothing that it has sent since was accepted
a: the master's messages were not accepted: it is not a JSON object
M: 2 messages were not accepted: it is not a JSON object
M: 1 message was not accepted: a member is repeated or of a wrong type, or correlationId has characters other than
 [a-zA-Z0-9_.-]
# the same before an answer
GOOD; 1010 M1 junk:not_json; 11000
a: signaling took 62 ms…
M: 1 message was not accepted: it is not a JSON object
# an offer that was not accepted
0 M1 joins; 0 a1 joins; 1 a1 offer:too_long/40112; 2 a1 junk:too_long/40112; 3 a1 junk:not_json; 185000
a: 2 messages were not accepted: messagePayload of 40,112 characters; expected at most 32,768
a: 1 message was not accepted: it is not a JSON object
# a candidate that was not accepted, and none that would be longer
GOOD; 1200 a1 candidate:too_long/40112; 11000
a: 1 message was not accepted: messagePayload of 40,112 characters; expected at most 32,768
a: signaling took 62 ms…
# a message of the master that names the viewer, and is not accepted
GOOD; 1200 M1 candidate:not_json a; 11000
a: 1 message was not accepted: it is not a JSON object
a: signaling took 62 ms…
# a viewer that is cut off while it sends
0 M1 joins; 0 a1 joins; 900 a1 leaves:frame; 9000
# a viewer that left a silent master
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 503 a1 leaves; 9000
a: the offer went to the master 500 ms before this viewer left, and it has sent nothing to it
# candidates without an answer
0 M1 joins; 0 a1 joins; 0 a1 offer M1; 5 M1 candidate a1; 10000
a: the offer went to the master 10.0 s ago, and it has sent this viewer 1 ICE candidate and no answer
# a viewer that left before the answer
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 4000 a1 leaves; 4900 M1 answer:kept a; 9000
a: the viewer left 900 ms before the answer
# an answer in time, and one to a second offer that came too late
GOOD; 5000 a1 leaves; 5900 M1 answer:kept a; 9000
a: signaling took 62 ms…
# an answer that came late
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 4 a1 candidate M1; 4203 M1 answer a1; 4204 M1 candidate a1; 9000
a: the answer came 4.2 s after the offer
a: signaling took 4.2 s…
# an answer to an earlier connection
0 M1 joins; 0 a1 joins; 100 a1 offer M1; 200 a1 leaves; 1000 a2 joins; 1040 M1 answer a2; 2000
a: the offer went to the master 100 ms before this viewer left, and it has sent nothing to it
a: the answer is for an offer of an earlier connection of this client id; this one has sent none
# an answer to a connection whose predecessor had one
GOOD; 2000 a1 leaves; 3000 a2 joins; 3040 M1 answer a2; 4000
a: signaling took 62 ms…
# an answer to another client id
0 M1 joins; 0 a1 joins; 100 a1 offer M1; 101 a1 leaves; 1000 b1 joins; 1040 M1 answer b1; 2000
a: the offer went to the master 1.0 ms before this viewer left, and it has sent nothing to it
# no candidates of the master
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 4 a1 candidate M1; 65 M1 answer a1; 9000
a: the master has sent no ICE candidates: unless its answer contains them, ICE has no address to try
a: signaling took 62 ms…
# no candidates of the master, in its answer neither
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 4 a1 candidate M1; 65 M1 answer:#0 a1; 9000
a: the master has sent no ICE candidates, and its answer contains none: ICE has no address of it to try
a: signaling took 62 ms…
# candidates of the master in its answer
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 4 a1 candidate M1; 65 M1 answer:#4 a1; 9000
a: signaling took 62 ms…
# no candidates anywhere
0 M1 joins; 0 a1 joins; 3 a1 offer:#0 M1; 65 M1 answer:#0 a1; 9000
a: neither side has sent ICE candidates, and neither offer nor answer contains any: ICE has no address to try
a: signaling took 62 ms…
# no candidates, and neither offer nor answer was looked into
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 65 M1 answer a1; 9000
a: neither side has sent ICE candidates: unless offer and answer contain them, ICE has no address to try
a: signaling took 62 ms…
# no candidates of the master yet
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 65 M1 answer a1; 1000
a: signaling took 62 ms…
# a long offer
GOOD; 1200 a1 offer:/12014 M1; 11000
a: a message of 12014 bytes: old builds of the C SDK take 10240 at most
a: signaling took 62 ms…
# the longest that is none
GOOD; 1200 a1 candidate:/10240 M1; 11000
a: signaling took 62 ms…
# a viewer without an offer
0 a1 joins; 185000
a: the viewer has been connected for 3 min 5 s and has sent no offer
# a viewer that has just come
0 a1 joins; 4000
# a viewer whose beginning is not known
0 a1 opens; 185000
# an answer to one whose beginning is not known
0 M1 joins; 0 a1 opens; 10 M1 answer a1; 11 M1 candidate a1; 9000
# a viewer that left without an offer
0 a1 joins; 900 a1 leaves; 185000
a: the viewer left after 900 ms and had sent no offer
# a client id that never connected
0 M1 joins; 10 M1 answer:kept a; 60000
a: no connection of this client id is known: the master sent to it before it came, or after it left
# a call over HTTP
0 M1 joins; 10 M1 candidate:for_call a; 20 M1 answer:answers_call#4 a; 30 M1 candidate*2:for_call a; 900
a: a call of SendAlexaOfferToMaster by this client id was answered, with 4 ICE candidates in the answer; of its master
 3 ICE candidates apart from the answer came to nothing: a call takes none
# a call that has no answer yet
0 M1 joins; 10 M1 candidate:for_call a; 900
a: a call of SendAlexaOfferToMaster by this client id has got no answer; of its master 1 ICE candidate apart from the
 answer came to nothing: a call takes none
# a call of a player
0 M1 joins; 10 a offer:called; 51 M1 answer:answers_call a; 60 M1 candidate*2:gathered a; 382 M1 candidate:gathered a;
 782 M1 answer:ended/201 a; 900
a: a call over HTTP: answered after 41 ms, 3 candidates within 372 ms, 201
# a call of a player that no camera answers
0 a offer:called; 9300 a offer:ended/409; 9500
a: a call over HTTP: not answered, 409
# a client that cannot take GO_AWAY
GOOD; 9000 a1 go_away; 9012 a1 leaves:gone; 11000
a: the client ended within 12 ms of GO_AWAY, which asks it to connect again: if it does not come back, set [clients]
 go_away = false for it
a: signaling took 62 ms…
# one that hangs after it, which a ping finds
0 M1 joins; 1000 M1 go_away; 91000 M1 leaves:unanswered; 99000
M: the client answered no ping within 90.0 s of GO_AWAY, which asks it to connect again: if it does not come back, set
 [clients] go_away = false for it
# one that ends long after it
0 M1 joins; 1000 M1 go_away; 4000 M1 leaves; 99000
# one that the broker ends
0 M1 joins; 1000 M1 go_away; 1100 M1 leaves:drain; 99000
# a viewer with the client id MASTER
0 a1 joins:last; 1000
a: it is a viewer, though its client id is MASTER: its URL was not signed with the path /master of its endpoint, and its
 caller's last GetSignalingChannelEndpoint did not name Role MASTER
# a master with that client id
0 M1 joins:last; 1000
M: it is the master, though it names the client id MASTER: its caller's last GetSignalingChannelEndpoint named Role
 MASTER
# an offer that the next master gets, and a candidate
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 2313 a offer:repeated M2; 2313 a candidate:repeated M2; 9000
a: the master connected again 300 ms after the offer had gone to it: its new connection got that offer again 2.0 s
 later, with 1 ICE candidate
a: the offer went to the master 9.0 s ago, and it has sent nothing to this viewer
# an offer that the former master had not confirmed
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 303 a offer:unconfirmed M1; 1000
a: the master connected again 300 ms after the offer had gone to it: the former one had not confirmed it, so the new one
 got it
# a former master that has sent a candidate
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 100 M1 candidate a1; 303 M2 joins; 1000
a: the master connected again 300 ms after the offer had gone to it: its new connection does not get that offer again,
 since the master has sent this viewer an ICE candidate
# a former master that answered later
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 304 M1 answer a1; 1000
a: the master connected again 300 ms after the offer had gone to it: its new connection does not get that offer again,
 since the master answered it before
a: signaling took 301 ms…
# a former master that answered before
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 65 M1 answer a1; 66 M1 candidate a1; 303 M2 joins; 1000
a: signaling took 62 ms…
# a newer offer
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 400 a1 offer M2; 1000
a: the master connected again 300 ms after the offer had gone to it: its new connection does not get that offer again,
 since the viewer has sent a newer one
# a viewer that has left since
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 400 a1 leaves; 1000
a: the master connected again 300 ms after the offer had gone to it: its new connection does not get that offer again,
 since the viewer has left
a: the offer went to the master 397 ms before this viewer left, and it has sent nothing to it
# an offer that is due again
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 303 a1 is:awaited 2303; 1103
a: the master connected again 300 ms after the offer had gone to it: its new connection gets that offer again in 1.2 s,
 when it has been open for 2.0 s
# an offer that the next master gets
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 303 a1 is:awaited next; 1103
a: the master connected again 300 ms after the offer had gone to it: the next connection that stays open for 2.0 s gets
 that offer again
# an offer that is not kept any more
0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 1103
a: the master connected again 300 ms after the offer had gone to it: its new connection does not get that offer again,
 since it expired, or was evicted for others
# offers that are never repeated
0 - norepeat; 0 M1 joins; 0 a1 joins; 3 a1 offer M1; 303 M2 joins; 1103
a: the master connected again 300 ms after the offer had gone to it: its new connection does not get that offer again,
 since [signaling] repeat_offers is off
# masters that connected as the offer came, and before
0 M1 joins; 0 a1 joins; 2 M2 joins; 3 M3 joins; 3 a1 offer M1; 1103
# a network that returns
0 M1 joins; 5000 M2 joins; 5000 M2 takes M1; 60000
M: another connection took its place 5.0 s after it joined, from 192.0.2.0
# a second master that is not named
0 M1 joins; 5000 M3 joins; 5000 M3 takes:unnamed M1; 60000
M: another connection took its place 5.0 s after it joined, from the same address
M: connected as master: no X-Amz-ClientId
# twins
0 M1 joins; 5000 M2 joins; 5000 M2 takes M1; 5000 M1 leaves; 10000 M3 joins; 10000 M3 takes M2; 10000 M2 leaves;
 15000 M4 joins; 15000 M4 takes M3; 15000 M3 leaves; 60000
M: another connection took its place 5.0 s after it joined, from 192.0.2.0; this happened 3 times within 10.0 s: two
 devices, or processes of one, are this channel's master
M: another connection took its place 5.0 s after it joined, from 192.0.2.1; this happened 3 times within 10.0 s: two
 devices, or processes of one, are this channel's master
M: another connection took its place 5.0 s after it joined, from 192.0.2.0; this happened 3 times within 10.0 s: two
 devices, or processes of one, are this channel's master
M: it took the place of an earlier connection; this happened 3 times within 10.0 s: two devices, or processes of one,
 are this channel's master
# two short connections
0 M1 joins; 300 M1 leaves; 5000 M2 joins; 5300 M2 leaves; 60000
# three short connections
0 M1 joins; 300 M1 leaves; 5000 M2 joins; 5300 M2 leaves; 9000 M3 joins; 9300 M3 leaves; 60000
M: it left 300 ms after it joined; 3 connections of this master ended within 10 s: its power, its network or its
 software
M: it left 300 ms after it joined; 3 connections of this master ended within 10 s: its power, its network or its
 software
M: it left 300 ms after it joined; 3 connections of this master ended within 10 s: its power, its network or its
 software
";

#[test]
fn ends_after_a_proxys_time_are_named() {
    let joins = "0 M1 joins; 0 a1 joins; 5000 a1 candidate M1";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("65000 a1 leaves:gone", 0, "60 s after its last message, or its beginning: nginx"),
        ("65999 a1 leaves:gone", 60_000, "60 s after its last message, or its beginning: nginx"),
        ("65000 a1 leaves:gone", 59_000, ""),
        ("66000 a1 leaves:gone", 0, ""),
        ("65000 a1 leaves", 0, ""),
        ("30000 a1 leaves:gone", 1_000, "30 s after its last message, or its beginning: application load balancers"),
        ("35000 a1 leaves:gone", 1_000, ""),
    ];
    for (left, ping_ms, proxy) in cases {
        let story = story(&format!("{joins}; {left}; 99000"));
        let hint = story.viewers[0].ended_by_proxy(ping_ms).unwrap_or_default();
        assert!(
            hint.contains(proxy) && hint.is_empty() == proxy.is_empty(),
            "{left}: {hint}"
        );
    }
}

/// An event that names only a client id belongs to the last connection of that client before the event, or to the next
/// one.
#[test]
fn events_belong_to_a_connection() {
    for (script, ids_wanted, wanted) in [
        (
            "500 a offer:expired; 1000 a1 joins; 1500 a offer:expired; 2000 a1 leaves; 2500 a offer:expired; \
             3000 a2 joins; 3500 a offer:expired; 1 b1 joins; 9000",
            &["b", "a", "a"][..],
            &[&[1][..], &[500, 1000, 1500, 2000, 2500], &[3000, 3500]][..],
        ),
        (
            "0 M1 joins; 1000 a1 joins; 2000 a2 joins; 3000 M1 answer a1; 3001 a2 offer M1; 3002 a1 candidate:kept; \
             3003 M1 answer:delivered a1; 3004 a offer:delivered M1; 3005 a2 takes a1; 3006 a2 go_away; \
             5000 a1 leaves; 9000",
            &["a", "a"],
            &[
                &[1000, 3000, 3002, 3003, 3005, 5000],
                &[2000, 3001, 3004, 3006],
            ],
        ),
        (
            "0 M1 joins; 10 M1 answer:kept ghost; 20 M1 answer:kept ?lost; 30 M1 answer:expired ghost; \
             40 M1 junk:not_json; 90",
            &["", "ghost"],
            &[&[20], &[10, 30]],
        ),
    ] {
        let story = story(script);
        let mut found: Vec<_> = ids(&story).into_iter().zip(moments(&story)).collect();
        if ids_wanted.contains(&"ghost") {
            found.sort(); // clients that never connected are sorted by their marks
            assert_eq!(
                story.masters[0].events.len(),
                2,
                "what names nobody is its own"
            );
            assert!(
                story
                    .viewers
                    .iter()
                    .all(|one| one.facts.missed == Some(0.0) && one.peer.is_none())
            );
        }
        let wanted: Vec<_> = (ids_wanted.iter().zip(wanted))
            .map(|(id, all)| (*id, all.to_vec()))
            .collect();
        assert_eq!(found, wanted, "{script}");
    }
}

#[test]
fn a_connection_begins_with_its_join_if_that_is_known() {
    let story = story("1 a1 opens; 2 b1 opens; 6 b1 offer:kept; 5 a1 leaves; 9");
    let [a, b] = &story.viewers[..] else {
        panic!("two viewers")
    };
    assert_eq!((a.ms(1000), a.ms(3500), a.ms(0)), (0.0, 2.5, -1.0));
    assert_eq!(a.facts.left, Some(4.0));
    assert_eq!(b.facts.offer, Some(4.0));
    assert_eq!(b.facts.now, 7.0);
    assert_eq!(a.left, Some((5000, Some(EndReason::PeerClosed))));
    assert!(!a.facts.whole && !b.facts.whole);
}

/// Hints are derived from everything that is known, even if only part of it is shown.
#[test]
fn viewers_and_events_are_left_out_by_client_time_and_number() {
    let read = || {
        story(
            "1 M1 joins; 15 M1 leaves; 16 M2 joins; 10 a1 joins; 20 a1 leaves; 30 b1 joins; 40 M2 answer:kept ghost; \
             90",
        )
    };
    let whole = read();
    assert_eq!(ids(&whole), vec!["a", "b", "ghost"]);
    assert_eq!(whole.masters.len(), 2);
    assert!(!whole.cut);

    let mut one = read();
    one.only("b");
    assert_eq!((ids(&one), one.masters.len()), (vec!["b"], 2));

    let mut earlier = read();
    earlier.since(15_000);
    assert_eq!(earlier.masters.len(), 2, "one left at that moment");

    let mut later = read();
    later.since(20_000);
    assert_eq!(moments(&later), [vec![20], vec![30], vec![40]]);
    assert_eq!(later.masters.len(), 1, "one left before");
    later.since(41_000);
    assert_eq!(ids(&later), vec!["b"], "it is connected");
    assert!(!later.cut, "it is connected");

    let mut newest = read();
    newest.newest(4);
    assert_eq!((newest.cut, newest.masters.len()), (false, 2));
    newest.newest(2);
    assert_eq!(moments(&newest), [vec![30], vec![40]]);
    assert_eq!((newest.cut, newest.masters.len()), (true, 2));
    newest.newest(1);
    assert_eq!(ids(&newest), ["b", "ghost"], "it is connected");
    assert_eq!(moments(&newest), [vec![], vec![40]]);
    assert_eq!(newest.masters[0].session(), session("M2"));

    let mut good = story(&format!("{GOOD}; 11000"));
    let all = hints(&good);
    good.newest(1);
    assert_eq!((moments(&good), hints(&good)), (vec![vec![1066]], all));
}
