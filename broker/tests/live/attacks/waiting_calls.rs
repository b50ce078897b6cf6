//! SendAlexaOfferToMaster calls that wait for masters that do not answer: nobody else's call is refused for them. And a
//! URL of `/whep/` that leaked, in a loop, with a camera that never stops sending candidates: each call ends in time.

use super::{ATTACKER, HEALTHY, Trial, broker};
use crate::http::{Connection, create, request};
use crate::peer::{Peer, answer, candidate_to};
use crate::process::{Broker, arn};
use crate::signed::service::{Service, credentials};
use crate::signed::signer::{Call, Signer};
use broker_core::limits::{WAITING_CALLS_PER_PLAYER, waiting_calls_per_shard};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::until;

/// Waiting calls, on channels of at most 64 each.
const CALLS: usize = 765;
const CALLS_PER_CHANNEL: usize = 60;

/// Calls of somebody healthy while they wait.
const DESCRIBES: usize = 200;
const LISTS: usize = 40;

#[test]
fn waiting_calls_refuse_nobody_elses() {
    let broker = broker("", 2);
    let outcome = Trial::new("waiting calls", &broker).run(|attack| {
        let waiting = wait(&broker);
        attack.did(waiting.len() as u64);
        while !attack.over() {
            let connection = || Connection::open_from(HEALTHY, broker.plain);
            let mut callers = [connection(), connection(), connection(), connection()];
            for number in 0..DESCRIBES {
                let caller = &mut callers[number % 4];
                let name = format!("hoard-{}", number % 13);
                let answer =
                    caller.call("/describeSignalingChannel", &json!({"ChannelName": name}));
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            for number in 0..LISTS {
                let answer = callers[number % 4].call("/listSignalingChannels", &json!({}));
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        drop(waiting);
    });
    assert_eq!(outcome.did, CALLS as u64);
    until_they_wait(&broker, 0);
    assert!(broker.scrape().sum("heliograph_waiting_call_places") < 0.5);
    broker.assert_balanced();
}

/// The attackers' connections, each with a call that waits.
fn wait(broker: &Broker) -> Vec<Connection> {
    let channels = CALLS.div_ceil(CALLS_PER_CHANNEL);
    let arns = (0..channels).map(|number| create(broker.plain, &format!("hoard-{number}"), 120));
    let arns: Vec<String> = arns.collect();
    let call = |number: usize| {
        let body = json!({
            "ChannelARN": arns[number % channels],
            "SenderClientId": format!("alexa-{number}"),
            "MessagePayload": "b2ZmZXI=",
        });
        let mut connection = Connection::open_from(ATTACKER, broker.plain);
        connection.send(&request(
            "/v1/send-alexa-offer-to-master",
            &body.to_string(),
        ));
        connection
    };
    let mut waiting = Vec::new();
    while waiting.len() < CALLS {
        // Not more at once than may be under way between two shards.
        let next = waiting.len()..CALLS.min(waiting.len() + 100);
        waiting.extend(next.map(call));
        until_they_wait(broker, waiting.len());
    }
    waiting
}

fn until_they_wait(broker: &Broker, calls: usize) {
    until(&format!("the wait of {calls} calls"), || {
        let waiting = broker.scrape().sum("heliograph_waiting_calls");
        ((waiting - calls as f64).abs() < 0.5).then_some(())
    });
}

/// Players that ask again as soon as they are answered.
const PLAYERS: usize = 40;

/// Candidates for each offer in one go, which are more than a call takes.
const CANDIDATES: usize = 40;

const OFFER: &str = "POST /whep/greedy HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n\
                     Content-Length: 7\r\n\r\nm=video";

#[test]
fn players_in_a_loop_and_a_camera_that_trickles_for_ever_harm_nobody() {
    let broker = broker("[quotas]\noff = true\n", 2);
    let over = AtomicBool::new(false);
    let outcome = Trial::new("players", &broker).run(|attack| {
        thread::scope(|scope| {
            let camera = Peer::master(&broker, &arn("greedy")); // which makes the channel
            scope.spawn(|| trickle(camera, &over));
            let player = || {
                let mut connection = Connection::open_from(ATTACKER, broker.plain);
                while !attack.over() {
                    let begun = Instant::now();
                    connection.send(OFFER.as_bytes());
                    let answer = connection.answer().expect("an answer");
                    let took = begun.elapsed();
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    assert!(took < Duration::from_secs(10), "{took:?}");
                    let lines = answer.text().matches("a=candidate:").count();
                    assert!(lines <= 16, "{lines} candidates");
                    attack.did(1);
                }
            };
            let players: Vec<_> = (0..PLAYERS).map(|_| scope.spawn(player)).collect();
            let ended: Vec<_> = players.into_iter().map(|player| player.join()).collect();
            over.store(true, Ordering::SeqCst);
            assert!(ended.iter().all(Result::is_ok), "a player");
        });
    });
    assert!(outcome.did >= PLAYERS as u64, "{outcome:?}");
    broker.assert_balanced();
}

/// URLs of an account that leaked, in a loop, take all places: a player of another account is answered all the same.
#[test]
fn leaked_urls_of_one_account_refuse_no_player_of_another() {
    let config = "[whep]\non = true\nwait = \"60s\"\n[quotas]\noff = true\n";
    let service = Service::configured(config, &credentials(), 1);
    let (tenant, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
    let places = waiting_calls_per_shard(1) / WAITING_CALLS_PER_PLAYER;
    let names = (0..places.div_ceil(CALLS_PER_CHANNEL)).map(|number| format!("hoard-{number}"));
    let url = |signer: &Signer, name: &str| {
        let url = Call::new(&service.broker, "GET", &format!("/whep/{name}"));
        let url = signer.presign(url.pair("X-Amz-ClientId", "tv"), 900);
        url.secrets().iter().for_each(|secret| service.keep(secret));
        let (method, body) = ("POST", "m=video".into());
        let call = Call {
            method,
            body,
            ..url
        };
        call.header("Content-Type", "application/sdp").bytes()
    };
    let leaked: Vec<_> = names
        .map(|name| {
            service.create(&tenant, &name);
            url(&tenant, &name)
        })
        .collect();
    let post = |from, request: &[u8]| {
        let mut connection = Connection::open_from(from, service.broker.plain);
        connection.send(request);
        connection
    };
    let mut attackers = Vec::new();
    for (number, request) in leaked.iter().cycle().take(places).enumerate() {
        attackers.push(post(ATTACKER, request));
        if number % 100 == 0 || number + 1 == places {
            until_they_wait(&service.broker, attackers.len());
        }
    }
    let arn = service.create(&neighbour, "own");
    let mut camera = service.master(&neighbour, &arn);
    let own = url(&neighbour, "own");
    let sdp = "{\"sdp\":\"m=video\\r\\na=end-of-candidates\\r\\n\"}";
    for request in &leaked {
        let mut player = post(HEALTHY, &own);
        let offer = camera.receive().into_text().expect("a text");
        camera.send(&answer(&sender_of(&offer), &payload(sdp)));
        let answered = player.answer().expect("an answer");
        assert_eq!(answered.status, 201, "{}", answered.text());
        attackers.push(post(ATTACKER, request));
        until_they_wait(&service.broker, places);
    }
    let scrape = service.broker.scrape();
    let outcome = |name| {
        scrape.sum(&format!(
            "heliograph_whep_offers_total{{outcome=\"{name}\"}}"
        ))
    };
    let (answered, full) = (outcome("answered"), outcome("unavailable"));
    let wanted = leaked.len() as f64;
    assert!(
        (answered - wanted).abs() < 0.5 && (full - wanted).abs() < 0.5,
        "{answered} {full}"
    );
    drop(attackers);
    until_they_wait(&service.broker, 0);
    camera.close();
    service.end();
}

fn payload(json: &str) -> String {
    let mut out = Vec::new();
    codec::base64::encode(&mut out, json.as_bytes());
    String::from_utf8(out).expect("base64")
}

/// The id to which an offer is answered.
fn sender_of(offer: &str) -> String {
    let offer: Value = serde_json::from_str(offer).expect("a message");
    offer["senderClientId"].as_str().expect("an id").to_owned()
}

/// The camera answers each offer, and sends candidates for every id that it ever saw.
fn trickle(mut master: Peer, over: &AtomicBool) {
    let sdp = payload(r#"{"type":"answer","sdp":"v=0\r\nm=video\r\n"}"#);
    let candidate = payload(r#"{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host"}"#);
    while !over.load(Ordering::SeqCst) {
        let until = Instant::now() + Duration::from_millis(50);
        for (_, text) in master.texts_until(until) {
            let id = sender_of(&text);
            let mut texts = vec![answer(&id, &sdp)];
            texts.resize(1 + CANDIDATES, candidate_to(&id, &candidate));
            master.send_together(&texts);
        }
    }
    master.close();
}
