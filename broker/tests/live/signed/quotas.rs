//! Quotas as a user meets them: the default numbers, and those of accounts under the strict profile.

use crate::http::Connection;
use crate::peer::{Peer, candidate, offer};
use crate::process::fresh_directory;
use crate::signed::service::{Service, credentials, on_signed_shards, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::fs;
use std::time::Instant;
use testkit::until;

on_signed_shards!(
    messages_of_a_connection_are_limited,
    keys_of_an_account_are_limited,
    a_storm_of_masters_is_bounded,
    use_is_counted_by_account,
);

/// The use of an account by `/usage`; of all others by `/usage` without one.
fn usage(service: &Service, account: &str) -> [u64; 5] {
    let document = service.broker.page("/usage").json();
    let accounts = document["accounts"].as_array().expect("a list");
    assert!(accounts.is_sorted_by_key(|one| one["account"].as_str().expect("digits")));
    let found = accounts.iter().find(|one| one["account"] == account);
    let found = found.unwrap_or_else(|| &document["others"]);
    [
        "connections",
        "calls",
        "messages",
        "refusals",
        "queuedBytes",
    ]
    .map(|figure| found[figure].as_u64().expect("a number"))
}

fn use_is_counted_by_account(service: &Service) {
    let (own, other) = ("123456789012", "999999999999");
    let [admin, nobody, neighbour] = ["admin", "nobody", "neighbour"].map(Signer::new);
    let arn = service.create(&admin, "metered");
    let of = |call| admin.presign(call, 60);
    let mut master = service.connect(&of(Call::master(&service.broker, &arn)));
    let mut viewer = service.connect(&of(Call::viewer(&service.broker, &arn, "v1")));
    relay(&mut master, &mut viewer);
    assert_eq!(usage(service, own), [2, 1, 2, 0, 0], "of open connections");
    viewer.send(&candidate("Y2FuZA=="));
    drop(viewer);
    until("the end of a connection", || {
        (usage(service, own)[0] == 1).then_some(())
    });
    assert_eq!(usage(service, own)[2], 3, "of those that ended as well");
    drop(master);
    let mut viewer = service.connect(&of(Call::viewer(&service.broker, &arn, "v1")));
    until("the end of the master", || {
        (usage(service, own)[0] == 1).then_some(())
    });
    viewer.send(&offer("b2ZmZXI="));
    until("a message that waits", || {
        (usage(service, own)[4] > 0).then_some(())
    });
    // Who is refused is known by the signature, and has an account; whose signature is wrong has none.
    service
        .call(&nobody, "/listSignalingChannels", &json!({}))
        .refused(401, "AccessDeniedException");
    service
        .call(&neighbour, "/listSignalingChannels", &json!({}))
        .ok();
    let mut forger = Signer::new("admin");
    forger.secret.push('x');
    assert_ne!(
        service
            .call(&forger, "/listSignalingChannels", &json!({}))
            .status,
        200
    );
    assert_eq!((usage(service, own)[1], usage(service, own)[3]), (2, 1));
    assert_eq!(usage(service, other), [0, 1, 0, 0, 0]);
    assert_eq!(usage(service, "")[3], 1);
    let scrape = service.broker.scrape();
    let series =
        |name: &str, account: &str| scrape.sum(&format!("{name}{{account=\"{account}\"}}"));
    for (account, connections) in [(own, 1.0), (other, 0.0), ("others", 0.0)] {
        assert_eq!(
            series("heliograph_account_connections", account),
            connections,
            "{account}"
        );
        assert_eq!(
            series("heliograph_account_queued_bytes", account) > 0.0,
            account == own
        );
    }
}

/// Does it until it is refused; asserts that as often as a full bucket and the rate since allow, it was not.
pub(crate) fn until_refused(rate: f64, burst: u32, mut accepts: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut accepted = 0;
    while accepts() {
        accepted += 1;
        assert!(accepted < 20 * burst, "never refused");
    }
    let refilled = rate * started.elapsed().as_secs_f64();
    let most = f64::from(burst) + refilled + 1.0;
    assert!(
        accepted >= burst && f64::from(accepted) <= most,
        "{accepted} of {burst}, and {refilled} since"
    );
}

fn keys_of_an_account_are_limited(service: &Service) {
    let call = |name: &str, form: &[(&str, &str)]| {
        let signer = Signer::new(name).of_service("sts");
        signer.sign(Call::sts(&service.broker, form)).bytes()
    };
    let asked = [("Action", "GetFederationToken"), ("Name", "web-1")];
    let grant = call("admin", &asked);
    // All shards take from one bucket.
    let mut connections: Vec<_> = (0..6)
        .map(|_| Connection::open(service.broker.plain))
        .collect();
    let mut turn = 0;
    until_refused(50.0, 250, || {
        turn += 1;
        let count = connections.len();
        let connection = &mut connections[turn % count];
        connection.send(&grant);
        let answer = connection.answer().expect("an answer");
        if answer.status != 200 {
            let told = answer.text();
            assert_eq!(answer.status, 400, "{told}");
            assert!(told.contains("<Code>Throttling</Code>"), "{told}");
        }
        answer.status == 200
    });
    let mut answers = |bytes: &[u8]| {
        connections[0].send(bytes);
        connections[0].answer().expect("an answer").status
    };
    assert_eq!(answers(&call("neighbour", &asked)), 200);
    let who = call("admin", &[("Action", "GetCallerIdentity")]);
    assert_eq!(answers(&who), 200, "it issues no keys");
    let refused = "heliograph_refusals_total{check=\"rate_account\"}";
    assert!(service.broker.scrape().sum(refused) > 0.0);
}

fn messages_of_a_connection_are_limited(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "busy");
    let master = Call::master(&service.broker, &arn);
    let _master = service.connect(&signer.presign(master, 60));
    let viewer = Call::viewer(&service.broker, &arn, "v1");
    let mut viewer = service.connect(&signer.presign(viewer, 60));
    for (action, text, rate, burst) in [
        ("ICE_CANDIDATE", candidate("Y2FuZA=="), 20.0, 100),
        ("SDP_OFFER", offer("b2ZmZXI="), 5.0, 25),
    ] {
        let wrong = r#"{"action":"NONE","messagePayload":"AAAA","correlationId":"next"}"#;
        let counted = text.replacen('{', r#"{"correlationId":"counted","#, 1);
        until_refused(rate, burst, || {
            // Accepted messages are not answered; so the next answer shows it.
            viewer.send(&counted);
            viewer.send(wrong);
            let first = next_status(&mut viewer);
            if first["correlationId"] == "next" {
                return true;
            }
            assert_eq!(first["correlationId"], "counted");
            assert_eq!(first["errorType"], "ClientLimitExceededException");
            assert_eq!(first["statusCode"], "400");
            assert_eq!(next_status(&mut viewer)["correlationId"], "next");
            false
        });
        let throttled =
            format!("heliograph_messages_total{{action=\"{action}\",outcome=\"throttled\"}}");
        assert!((service.broker.scrape().sum(&throttled) - 1.0).abs() < 0.5);
    }
}

/// Masters that push each other out, all by one URL.
const MASTERS: usize = 50;

fn a_storm_of_masters_is_bounded(service: &Service) {
    let signer = Signer::new("admin");
    let (calm, stormy) = (
        service.create(&signer, "calm"),
        service.create(&signer, "stormy"),
    );
    let connect = |call: Call| service.connect(&signer.presign(call, 60));
    let mut master = connect(Call::master(&service.broker, &calm));
    let mut viewer = connect(Call::viewer(&service.broker, &calm, "v1"));
    let url = signer.presign(Call::master(&service.broker, &stormy), 60);
    let started = Instant::now();
    let mut masters = Vec::new();
    for turn in 0..MASTERS {
        let (answer, connection) = service.open(&url);
        if answer.status == 101 {
            masters.push(Peer::after_upgrade(connection));
        } else {
            answer.refused(400, "ClientLimitExceededException");
        }
        if turn % 3 == 0 {
            relay(&mut master, &mut viewer); // 17 offers: the connection may send 25 at once
        }
    }
    let refilled = 3.0 * started.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(masters.len()).expect("few"));
    assert!(
        (15.0..=16.0 + refilled).contains(&count),
        "{count}, {refilled} since"
    );
    // One is in, four wait for their end, all others were closed.
    let kept = masters.split_off(masters.len() - 5);
    for mut gone in masters {
        gone.expect_close(1001);
    }
    let superseded = || {
        let scrape = service.broker.scrape();
        scrape.sum("heliograph_connections{role=\"superseded\"}")
    };
    until("their end", || (superseded() < 4.5).then_some(()));
    assert!((superseded() - 4.0).abs() < 0.5);
    for mut peer in kept {
        peer.expect_silence();
    }
}

fn next_status(peer: &mut Peer) -> Value {
    let message = peer.receive();
    let message: Value =
        serde_json::from_str(message.to_text().expect("a text")).expect("an object");
    assert_eq!(message["messageType"], "STATUS_RESPONSE");
    message["statusResponse"].clone()
}

/// Under the strict profile, with a configuration file of this text.
fn strict(text: &str, shards: u16) -> Service {
    let directory = fresh_directory();
    let path = directory.join("broker.toml");
    fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a path in UTF-8");
    let arguments = ["--profile", "strict", "--config", path];
    let service = Service::with(&credentials(), &arguments, shards);
    let _ = fs::remove_dir_all(directory);
    service
}

#[test]
fn accounts_have_as_many_channels_as_they_may() {
    for shards in [1, 3] {
        let service = strict("[limits]\nchannels_per_account = 3\n", shards);
        let (admin, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
        let first = service.create(&admin, "c-0");
        service.create(&admin, "c-1");
        service.create(&admin, "c-2");
        let create = |name: &str| {
            service.call(
                &admin,
                "/createSignalingChannel",
                &json!({"ChannelName": name}),
            )
        };
        let told = create("c-3").refused(400, "AccountChannelLimitExceededException");
        assert!(told.contains('3'), "{told}");
        // Those of others do not count, and who deletes one may make another.
        service.create(&neighbour, "c-0");
        let delete = json!({"ChannelARN": first});
        service
            .call(&admin, "/deleteSignalingChannel", &delete)
            .ok();
        create("c-3").ok();
        create("c-4").refused(400, "AccountChannelLimitExceededException");
        service.end();
    }
}

#[test]
fn after_a_race_no_channel_is_made() {
    for shards in [1, 3] {
        let service = strict("[limits]\nchannels_per_account = 3\n", shards);
        let admin = Signer::new("admin");
        let asked = (0..24).map(|nth| {
            let body = json!({"ChannelName": format!("race-{nth}")});
            let call = Call::api(&service.broker, "/createSignalingChannel", &body);
            let mut connection = Connection::open(service.broker.plain);
            connection.send(&admin.sign(call).bytes());
            connection
        });
        let asked: Vec<_> = asked.collect();
        let statuses = asked.into_iter().map(|mut connection| {
            let answer = connection.answer().expect("an answer");
            if answer.status != 200 {
                answer.refused(400, "AccountChannelLimitExceededException");
            }
            answer.status
        });
        // Those under way at the same time do not see each other; later ones see them all.
        assert!(statuses.filter(|status| *status == 200).count() >= 3);
        let body = json!({"ChannelName": "after"});
        let after = service.call(&admin, "/createSignalingChannel", &body);
        after.refused(400, "AccountChannelLimitExceededException");
        service.end();
    }
}

#[test]
fn accounts_are_limited_in_what_they_ask_for() {
    for shards in [1, 3] {
        let service = strict(
            "[quotas]\naccount_create = { rate = 1, burst = 3 }\naccount_federation = { rate = 1, burst = 2 }\n",
            shards,
        );
        let create = |signer: &Signer, nth: u32| {
            let body = json!({"ChannelName": format!("c-{nth}")});
            service.call(signer, "/createSignalingChannel", &body)
        };
        let mut nth = 0;
        let admin = Signer::new("admin");
        until_refused(1.0, 3, || {
            nth += 1;
            let answer = create(&admin, nth);
            if answer.status != 200 {
                answer.refused(400, "ClientLimitExceededException");
            }
            answer.status == 200
        });
        create(&Signer::new("neighbour"), 0).ok();
        let form = [("Action", "GetFederationToken"), ("Name", "web-1")];
        let signer = admin.of_service("sts");
        until_refused(1.0, 2, || {
            let call = signer.sign(Call::sts(&service.broker, &form));
            let answer = service.send(&call);
            let throttled = answer.text().contains("<Code>Throttling</Code>");
            assert_eq!(throttled, answer.status != 200, "{}", answer.text());
            !throttled
        });
        service.end();
    }
}

/// By default, each operation for itself; the refusal names the key.
#[test]
fn lines_of_an_account_in_the_log_are_limited() {
    const BURST: usize = 20;
    let directory = fresh_directory();
    let quotas = ["account_create", "account_change"]
        .map(|key| format!("{key} = {{ rate = 1, burst = {BURST} }}\n"));
    let file = format!("[quotas]\nchange = {{ rate = 0 }}\n{}", quotas.concat());
    fs::write(directory.join("broker.toml"), file).expect("a file under target/");
    let service = Service::in_directory(&directory, &credentials(), 2);
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "cam");
    let refused = |path: &str, body: &dyn Fn(usize) -> Value, key: &str| {
        let answers = (0..2 * BURST).map(|nth| service.call(&admin, path, &body(nth)));
        let refused = answers.into_iter().find(|answer| answer.status != 200);
        let text = refused
            .expect("a refusal")
            .refused(400, "ClientLimitExceededException");
        assert!(text.contains(&format!("[quotas] {key}")), "{text}");
    };
    let create = |nth: usize| json!({"ChannelName": format!("c-{nth}")});
    refused("/createSignalingChannel", &create, "account_create");
    let tag =
        |nth: usize| json!({"ResourceARN": arn, "Tags": [{"Key": "n", "Value": nth.to_string()}]});
    refused("/TagResource", &tag, "account_change");
    service.end();
}

#[test]
fn strict_is_strict_about_tokens_and_clocks() {
    let service = strict("", 1);
    let late = Signer::new("late");
    let list = |signer: &Signer| service.call(signer, "/listSignalingChannels", &json!({}));
    list(&late.ahead(-200)).ok();
    let told = service.counts(Some("expired"), || list(&late.ahead(-400)));
    let told = told.refused(403, "InvalidSignatureException");
    assert!(told.contains(" - 5 min.)"), "{told}");
    for (seconds, status) in [("899", 400), ("900", 200)] {
        let form = [
            ("Action", "GetFederationToken"),
            ("Name", "web-1"),
            ("DurationSeconds", seconds),
        ];
        let call = Call::sts(&service.broker, &form);
        let answer = service.send(&Signer::new("admin").of_service("sts").sign(call));
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(status == 200 || answer.text().contains("<Code>ValidationError</Code>"));
    }
    service.end();
}
