//! A configuration file that changes under a running broker: a change is checked, and applied by SIGHUP alone.

use crate::http::call;
use crate::peer::{Peer, offer, to_master};
use crate::process::{Broker, DEV, arn};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use testkit::{until, until_true};

/// A TURN server with these secrets, and more.
fn turn(secrets: &str, more: &str) -> String {
    format!("[[ice]]\nurls = [\"turn:turn.example.test:3478\"]\nsecret = {secrets}\n{more}")
}

/// Whether credentials are those of this secret, whichever shard is asked.
fn is_minted_with(broker: &Broker, arn: &str, secret: &str) -> bool {
    (0..16).all(|_| {
        let body = json!({"ChannelARN": arn, "ClientId": "v1"});
        let servers = call(broker.plain, "/v1/get-ice-server-config", &body).ok();
        let server = &servers["IceServerList"][0];
        let user = server["Username"].as_str().expect("a username");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let password = base64_simd::STANDARD.encode_to_string(hmac::sign(&key, user.as_bytes()));
        server["Password"] == password
    })
}

/// The part of `/overview` on the file.
fn overview(broker: &Broker) -> Value {
    broker.page("/overview").json()["now"]["configuration"].clone()
}

fn sha256(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The texts of the file that runs, and of the file as it is, by the metrics.
fn is_said(broker: &Broker, running: &str, file: &str) -> bool {
    let scrape = broker.scrape();
    let has = |of: &str, text: &str| {
        let sha256 = sha256(text);
        let line = format!("heliograph_config_info{{of=\"{of}\",sha256=\"{sha256}\"}} 1\n");
        scrape.text().contains(&line)
    };
    has("running", running) && has("file", file)
}

fn doctor(broker: &Broker) -> String {
    broker.asked(&["doctor"]).stdout
}

#[test]
fn secrets_of_turn_servers_rotate_under_open_connections() {
    let before = turn("\"north\"", "");
    let broker = Broker::configured(&before, 2);
    let arn = arn("cam-1");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    assert!(is_minted_with(&broker, &arn, "north") && is_said(&broker, &before, &before));
    let after = turn(
        "[\"south\", \"north\"]",
        "[limits]\nviewers_per_channel = 3\n",
    );
    broker.configure(&after);
    broker.logged(&["WARN", "the configuration file needs a SIGHUP: ice"], 1);
    broker.logged(&["WARN", "needs a restart: limits.viewers_per_channel"], 1);
    assert!(
        is_minted_with(&broker, &arn, "north"),
        "a change is only checked"
    );
    assert!(is_said(&broker, &before, &after));
    let waiting = |needs: &str| broker.scrape().sum_with("heliograph_config_waiting", needs);
    assert_eq!((waiting("sighup"), waiting("restart")), (1.0, 1.0));
    let waits = overview(&broker);
    assert_eq!(waits["needsSighup"], json!(["ice"]));
    assert_eq!(waits["needsRestart"], json!(["limits.viewers_per_channel"]));
    let said = doctor(&broker);
    assert!(
        said.contains("needs a restart: limits.viewers_per_channel"),
        "{said}"
    );
    assert!(said.contains("needs a SIGHUP: ice"), "{said}");
    broker.signal("HUP");
    until_true("the other secret", || {
        is_minted_with(&broker, &arn, "south")
    });
    broker.logged(&["configuration in force: ice"], 1);
    assert!(
        is_said(&broker, &before, &after),
        "something waits for a restart"
    );
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    // Without what waits, the whole file runs.
    let whole = turn("\"south\"", "");
    broker.configure(&whole);
    broker.logged(&["configuration checked"], 2);
    broker.signal("HUP");
    until_true("the whole file", || is_said(&broker, &whole, &whole));
    until_true("no more that waits", || {
        overview(&broker)["needsRestart"] == json!([])
    });
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    assert!(!broker.log().contains("south"), "no secret is logged");
}

#[test]
fn a_fault_is_reported_and_nothing_of_the_file_is_applied() {
    let before = turn("\"north\"", "");
    let flags = [&DEV[..], &["--region", "eu-west-1"]].concat();
    let broker = Broker::configured_as(&before, &flags, 2);
    let arn = crate::http::create(broker.plain, "cam-1", 60);
    let ok = || {
        broker
            .scrape()
            .sum("heliograph_reload_ok{what=\"configuration\"}")
            == 1.0
    };
    assert!(ok());
    broker.configure(&turn("\"south\"", "[limits]\npayload_bytes = 0\n"));
    until_true("the gauge", || !ok());
    #[rustfmt::skip] // a list
    broker.logged(
        &["ERROR", "the configuration stays as it was", "limits.payload_bytes = 0"],
        1,
    );
    broker.signal("HUP");
    broker.logged(&["ERROR", "the configuration stays as it was"], 2);
    assert!(!ok() && is_minted_with(&broker, &arn, "north"));
    // Right by itself, but not beside what waits for a restart: nothing is applied.
    let more = "[limits]\npayload_bytes = 900000\nmessage_bytes = 1000000\noutbox_bytes = 2000000\n\
                pending_bytes_per_channel = 1000000\n";
    broker.configure(&turn("\"south\"", more));
    #[rustfmt::skip] // a list
    broker.logged(
        &["ERROR", "stay as they are until a restart", "limits.pending_bytes_per_channel"],
        1,
    );
    broker.signal("HUP");
    broker.logged(&["ERROR", "stay as they are until a restart"], 2);
    assert!(!ok() && is_minted_with(&broker, &arn, "north"));
    // The flags of the start win over the file.
    broker.configure(&("region = \"us-east-1\"\n".to_owned() + &turn("\"south\"", "")));
    until_true("a good file", ok);
    broker.signal("HUP");
    until_true("the other secret", || {
        is_minted_with(&broker, &arn, "south")
    });
    assert_eq!(overview(&broker)["needsRestart"], json!([]));
}

#[test]
fn connections_keep_their_bounds_of_messages_and_others_get_new_ones() {
    let text = |payload_bytes: usize, more: &str| {
        format!("[limits]\npayload_bytes = {payload_bytes}\n{more}")
    };
    let broker = Broker::configured(&text(1_000, ""), 1);
    let arn = arn("cam-1");
    let mut master = Peer::master(&broker, &arn);
    let mut old = Peer::viewer(&broker, &arn, "old");
    let more = "[clients.mine]\nuser_agent = \"Mine/*\"\n[quotas]\noff = false\ndescribe = { rate = 1, burst = 1 }\n";
    broker.configure(&text(2_000, more));
    broker.logged(&["configuration checked"], 1);
    broker.signal("HUP");
    broker.logged(
        &["configuration in force: limits.payload_bytes, quotas.off, quotas.describe, clients.mine"],
        1,
    );
    let long = "QUJD".repeat(400);
    let mut new = until("the new bound", || {
        let mut new = Peer::viewer(&broker, &arn, "new");
        old.send(&offer(&long));
        old.send(&offer("c2hvcnQ="));
        master.expect(&to_master("SDP_OFFER", "c2hvcnQ=", "old"));
        new.send(&offer(&long));
        new.send(&offer("c2hvcnQ="));
        let first = master.receive().to_string();
        if first == to_master("SDP_OFFER", "c2hvcnQ=", "new") {
            return None; // the shard had not read it
        }
        master.expect(&to_master("SDP_OFFER", "c2hvcnQ=", "new"));
        assert_eq!(first, to_master("SDP_OFFER", &long, "new"));
        Some(new)
    });
    // A row that was there before keeps its meaning, and a rate limits those who are there.
    let refused = until("a refusal", || {
        let body = json!({"ChannelARN": arn});
        let answer = call(broker.plain, "/describeSignalingChannel", &body);
        (answer.status != 200).then_some(answer)
    });
    refused.refused(400, "ClientLimitExceededException");
    // Back again, and again: the bounds of before are found, not added.
    for payload_bytes in [1_000, 2_000, 1_000] {
        broker.configure(&text(payload_bytes, more));
        let lines = broker.log().matches("configuration in force").count();
        broker.signal("HUP");
        broker.logged(&["configuration in force: limits.payload_bytes"], lines + 1);
    }
    new.send(&offer(&long));
    master.expect(&to_master("SDP_OFFER", &long, "new"));
}

#[test]
fn the_level_of_the_log_is_applied() {
    let broker = Broker::configured("", 1);
    broker.configure("log_level = \"warn\"\n");
    broker.logged(&["needs a SIGHUP: log_level"], 1);
    broker.signal("HUP");
    until_true("no more that waits", || {
        overview(&broker)["needsSighup"] == json!([])
    });
    broker.configure("log_level = \"info\"\n[limits]\nconnections = 1000\n");
    broker.logged(&["needs a restart: limits.connections"], 1);
    assert!(!broker.log().contains("configuration reloaded"));
    broker.signal("HUP");
    broker.logged(&["configuration reloaded"], 1);
}
