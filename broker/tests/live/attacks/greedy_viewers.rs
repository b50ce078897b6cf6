//! A viewer with a key of its own that takes what it can of a channel, beside the channel's master and another viewer.

use crate::http::Connection;
use crate::peer::{candidate, offer, to_master};
use crate::signed::quotas::until_refused;
use crate::signed::service::{Service, principal};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::federate;
use serde_json::json;

/// Calls and connects of the attacker.
const CALLS: usize = 200;
const CONNECTS: usize = 40;

/// Calls of the master, and connects of the other viewer. At the default rates that is less than may be at once.
const MASTERS: usize = 20;
const OTHERS: usize = 5;

/// Viewers of a channel, by default.
const VIEWERS: usize = 10;

/// Viewers of the attacker that leave a message for a master that is not there: as many as a channel keeps.
const MESSAGES: usize = 64;

/// Those of one caller that are kept: a quarter.
const KEPT: usize = 16;

/// Characters of a candidate of the attacker, and what it leaves: more than a channel keeps.
const LARGE: usize = 9_000;
const LARGE_IDS: usize = 4;
const LARGE_EACH: usize = 20;

/// Those that are kept: what fits into a quarter of 512 KiB.
const LARGE_KEPT: usize = 14;

const POLICIES: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:*", "sts:*"], "Resource": "*"}]}'
[policy.masters]
document = '''{"Statement": [{"Effect": "Allow", "Resource": "*",
    "Action": ["kinesisvideo:ConnectAsMaster", "kinesisvideo:GetIceServerConfig"]}]}'''
[policy.viewers]
document = '''{"Statement": [{"Effect": "Allow", "Resource": "*",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"]}]}'''
"#;

fn credentials() -> String {
    let principals = [
        ("admin", "all"),
        ("camera", "masters"),
        ("mallory", "viewers"),
        ("alice", "viewers"),
    ];
    let principals =
        principals.map(|(name, policy)| principal(name, &format!("[\"{policy}\"]"), ""));
    principals.concat() + POLICIES
}

#[test]
fn calls_of_a_viewer_use_up_neither_the_masters_nor_another_viewers() {
    let service = Service::with(&credentials(), &[], 2);
    let arn = service.create(&Signer::new("admin"), "cam");
    let path = "/v1/get-ice-server-config";
    // As the C SDK does, whose masters name a client id too.
    let body = |id: &str| json!({"ChannelARN": arn, "ClientId": id});
    let call = Call::api(&service.broker, path, &body("mallory"));
    let call = Signer::new("mallory").sign(call).bytes();
    let mut attacker = Connection::open(service.broker.plain);
    let mut accepted = 0;
    for number in 0..CALLS {
        attacker.send(&call);
        let answer = attacker.answer().expect("an answer");
        accepted += usize::from(answer.status == 200);
        if answer.status != 200 {
            answer.refused(400, "ClientLimitExceededException");
        }
        if number % (CALLS / MASTERS) == 0 {
            let camera = Signer::new("camera");
            service.call(&camera, path, &body("ProducerMaster")).ok();
        }
    }
    assert!((12..CALLS).contains(&accepted), "{accepted}");
    for _ in 0..OTHERS {
        let alice = Signer::new("alice");
        service.call(&alice, path, &body("alice")).ok();
    }
    drop(attacker);
    service.end();
}

/// As AWS documents it: any caller may use up what the channel has.
#[test]
fn the_strict_profile_counts_by_channel_alone() {
    let service = Service::with(&credentials(), &["--profile", "strict"], 1);
    let arn = service.create(&Signer::new("admin"), "cam");
    let body = json!({"ChannelARN": arn});
    let call = |name: &str| {
        let call = Call::api(&service.broker, "/v1/get-ice-server-config", &body);
        Signer::new(name).sign(call).bytes()
    };
    let (viewer, camera) = (call("mallory"), call("camera"));
    let mut caller = Connection::open(service.broker.plain);
    let mut ask = |call: &[u8]| {
        caller.send(call);
        caller.answer().expect("an answer").status == 200
    };
    until_refused(5.0, 25, || ask(&viewer));
    assert!((0..20).any(|_| !ask(&camera)));
    drop(caller);
    service.end();
}

#[test]
fn connects_of_a_viewer_leave_those_of_others() {
    let service = Service::with(&credentials(), &[], 2);
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "cam");
    // Federated users of one name, whom their policies tell apart.
    let viewer = |id: &str| {
        let policy = json!({"Statement": [{
            "Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
            "Condition": {"StringEquals": {"kinesisvideo:ClientId": id}},
        }]});
        let signer = federate(&service, &admin, &policy.to_string()).0;
        signer.presign(Call::viewer(&service.broker, &arn, id), 60)
    };
    let (attacker, other) = (viewer("mallory"), viewer("alice"));
    let mut accepted = 0;
    for _ in 0..CONNECTS {
        let answer = service.send(&attacker);
        accepted += usize::from(answer.status == 101);
        if answer.status != 101 {
            answer.refused(400, "ClientLimitExceededException");
        }
    }
    assert!((7..CONNECTS).contains(&accepted), "{accepted}");
    for _ in 0..OTHERS {
        drop(service.connect(&other));
    }
    service.end();
}

/// A visitor that takes all viewers' places of a channel loses its newest to others, until they have as many as it;
/// under the strict profile it keeps them, as in the cloud.
#[test]
fn places_of_a_viewers_many_ids_are_shared_with_another_viewers() {
    for profile in ["default", "strict"] {
        let service = unhurried(profile);
        let arn = service.create(&Signer::new("admin"), "cam");
        let request = |name: &str, id: &str| {
            let call = Call::viewer(&service.broker, &arn, id);
            Signer::new(name).presign(call, 60)
        };
        let refused = |name: &str| {
            let answer = service.send(&request(name, "more"));
            answer.refused(400, "ClientLimitExceededException");
        };
        let mut greedy: Vec<_> = (0..VIEWERS)
            .map(|nth| service.connect(&request("mallory", &format!("m-{nth}"))))
            .collect();
        refused("mallory");
        let mut others = Vec::new();
        while profile == "default" && others.len() < VIEWERS / 2 {
            let id = format!("a-{}", others.len());
            others.push(service.connect(&request("alice", &id)));
            let mut newest = greedy.pop().expect("half of them stay");
            newest.expect_close(1001);
        }
        for name in ["mallory", "alice"] {
            refused(name);
        }
        let made_room = r#"heliograph_connection_ends_total{reason="made_room"}"#;
        let made_room = service.broker.scrape().sum(made_room);
        assert!((made_room - others.len() as f64).abs() < 0.5, "{made_room}");
        drop((greedy, others));
        service.end();
    }
}

#[test]
fn messages_of_a_viewers_many_ids_leave_room_for_another_viewers() {
    let service = unhurried("default");
    let arn = service.create(&Signer::new("admin"), "cam");
    let leave = |name: &str, id: &str| {
        let call = Call::viewer(&service.broker, &arn, id);
        let mut viewer = service.connect(&Signer::new(name).presign(call, 60));
        viewer.send(&offer("b2ZmZXI="));
        viewer.close();
    };
    for number in 0..MESSAGES {
        leave("mallory", &format!("m-{number}"));
    }
    leave("alice", "alice");
    let mut master = service.master(&Signer::new("camera"), &arn);
    for number in MESSAGES - KEPT..MESSAGES {
        let id = format!("m-{number}");
        master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", &id));
    }
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alice"));
    master.expect_silence();
    let evicted = r#"heliograph_messages_total{action="SDP_OFFER",outcome="evicted"}"#;
    let evicted = service.broker.scrape().sum(evicted);
    assert!(
        (evicted - (MESSAGES - KEPT) as f64).abs() < 0.5,
        "{evicted}"
    );
    master.close();
    service.end();
}

#[test]
fn large_messages_of_a_viewer_leave_room_for_another_viewers() {
    let service = unhurried("default");
    let arn = service.create(&Signer::new("admin"), "cam");
    let connect = |name: &str, id: &str| {
        let call = Call::viewer(&service.broker, &arn, id);
        service.connect(&Signer::new(name).presign(call, 60))
    };
    let large = "A".repeat(LARGE);
    for number in 0..LARGE_IDS {
        let mut viewer = connect("mallory", &format!("m-{number}"));
        (0..LARGE_EACH).for_each(|_| viewer.send(&candidate(&large)));
        viewer.close();
    }
    let pending = service.broker.scrape().sum("heliograph_pending_bytes");
    assert!(pending <= 512.0 * 1024.0 / 4.0, "{pending}");
    let mut viewer = connect("alice", "alice");
    viewer.send(&offer("b2ZmZXI="));
    (0..LARGE_EACH / 2).for_each(|_| viewer.send(&candidate(&large)));
    viewer.close();
    let mut master = service.master(&Signer::new("camera"), &arn);
    for _ in 0..LARGE_KEPT {
        master.expect(&to_master("ICE_CANDIDATE", &large, "m-0"));
    }
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alice"));
    for _ in 0..LARGE_EACH / 2 {
        master.expect(&to_master("ICE_CANDIDATE", &large, "alice"));
    }
    master.expect_silence();
    master.close();
    service.end();
}

/// A service whose viewers may connect as often as they like.
fn unhurried(profile: &str) -> Service {
    let quotas = format!("profile = \"{profile}\"\n[quotas]\nconnect_viewer = {{ rate = 0 }}\n");
    Service::configured(&quotas, &credentials(), 1)
}

/// A loop that may not have the keys it asks for, beside the back end of the same account.
#[test]
fn refused_calls_for_keys_leave_those_of_the_back_end() {
    let service = Service::with(&credentials(), &[], 2);
    let call = |name: &str| {
        let form = [("Action", "GetFederationToken"), ("Name", "web-1")];
        let signer = Signer::new(name).of_service("sts");
        signer.sign(Call::sts(&service.broker, &form)).bytes()
    };
    let ask = |connection: &mut Connection, bytes: &[u8]| {
        connection.send(bytes);
        connection.answer().expect("an answer").status
    };
    let (denied, granted) = (call("mallory"), call("admin"));
    let mut attackers: Vec<_> = (0..4)
        .map(|_| Connection::open(service.broker.plain))
        .collect();
    let mut back_end = Connection::open(service.broker.plain);
    let (mut refused, mut throttled) = (0, 0);
    for number in 0..600 {
        match ask(&mut attackers[number % 4], &denied) {
            403 => refused += 1,
            400 => throttled += 1,
            other => panic!("{other}"),
        }
        if number % 50 == 0 {
            assert_eq!(ask(&mut back_end, &granted), 200, "after {number}");
        }
    }
    assert!(
        refused >= 50 && throttled >= 200,
        "{refused} refused, {throttled} unseen"
    );
    let seen = "were refused too often";
    let rows = service.broker.page("/refusals?check=rate_account").text();
    assert!(rows.contains(seen), "{rows}");
    drop((attackers, back_end));
    service.end();
}
