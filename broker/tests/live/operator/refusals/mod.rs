//! Why a request was refused: each check brought about, and found by id, by address and by channel; after a flood, and
//! by the id alone after a restart.

mod cases;
mod clients;

use cases::{
    ROLES, calls, crowded_broker, full, heads, open_broker, roles, sign_ins, signatures,
    temporary_credentials, tokens, unsigned, upgrades,
};
use clients::{Clients, Refusal, refusal};

use crate::http::{Connection, call, get};
use crate::process::{Broker, arn, directory};
use crate::signed::service::{Service, credentials, principal};
use crate::signed::signer::{Call, Signer};
use broker_core::check::Check;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Refusals that no client of a healthy broker can bring about: the simulation does, where each refusal's check
/// has a cause and its id says it (`MUST_MEET` in `broker/core/tests/sim/coverage.rs`); and a fault of the broker
/// itself.
#[rustfmt::skip] // a list
const ELSEWHERE: [Check; 7] = [
    Check::ChannelDeleting, Check::MailboxFull, Check::ChangesFull, Check::StoreFailed, Check::AuditFull,
    Check::ReplyTimeout, Check::InternalFailure,
];

/// Before there is a request, or of a proxy: see `operator/turned_away.rs` and `listeners/proxy.rs`.
#[rustfmt::skip] // a list
const EARLY: [Check; 11] = [
    Check::ConnectionsFull, Check::HandshakesFull, Check::TlsExpected, Check::TlsDistrusted, Check::TlsNothingCommon,
    Check::TlsBroken, Check::TlsLeft, Check::ProxyUnexpected, Check::ProxyForeign, Check::ProxyMalformed,
    Check::EndpointUnadvertised,
];

/// Refusals by nodes of a cluster alone: see `cluster/`, and `nodes.rs` and `owners.rs` of the transcripts of shards.
#[rustfmt::skip] // a list
const OF_NODES: [Check; 5] = [
    Check::OwnerUnreachable, Check::OwnerElsewhere, Check::OwnerNone, Check::ListIncomplete, Check::AbsenceUnknown,
];

/// Refusals of devices that wait: see `hooks/polls.rs`, and `wake.rs` of the transcripts of shards.
const OF_DEVICES: [Check; 2] = [Check::WakePollsFull, Check::WakePollReplaced];

/// Refusals of addresses that sign in very often, more than are kept one by one: see `signed/web_identity.rs`.
const OF_SIGN_INS: [Check; 1] = [Check::RateAddress];

/// Refusals of devices with certificates: see `things/`.
#[rustfmt::skip] // a list
const OF_THINGS: [Check; 5] = [
    Check::ThingCertificate, Check::ThingName, Check::AliasAbsent, Check::ThingHost, Check::ThingClock,
];

/// Refusals of players that need another's token, a camera of few codecs, or a crowd: see `auth/authenticator_tests.rs`
/// and `shard_transcripts/whep.rs`.
#[rustfmt::skip] // a list
const OF_PLAYERS: [Check; 3] = [Check::WhepTokenElsewhere, Check::WhepNoCodec, Check::WhepFull];

/// Requests of a flood, and how many are under way.
const FLOOD: usize = 5_000;
const PIPELINED: usize = 50;
const FLOODER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 77, 77));

fn checks(all_clients: &[&Clients<'_>]) -> BTreeSet<Check> {
    let all = all_clients.iter().flat_map(|clients| {
        let seen = clients.seen.borrow();
        seen.iter().map(|seen| seen.check).collect::<Vec<_>>()
    });
    all.collect()
}

const LIMITS: &str = "
[limits]
viewers_per_channel = 1
channels_per_account = 5
record_bytes_per_account = 65536
[timeouts]
head = \"1s\"
body = \"1s\"
[advertise]
domain = \"kvs.test\"
[quotas]
connect_master = { rate = 1, burst = 1 }
describe = { rate = 1, burst = 1 }
account_list = { rate = 1, burst = 1 }
";

/// Everybody in the credentials file, two more who leave or end, and the limits.
fn service(directory: &Path) -> Service {
    let text = credentials()
        + &principal("leaving", r#"["all"]"#, "")
        + &principal("ending", r#"["all"]"#, "")
        + ROLES;
    fs::write(directory.join("broker.toml"), LIMITS).expect("a file under target/");
    Service::in_directory(directory, &text, 2)
}

#[test]
fn each_check_is_found_by_id_by_address_and_by_channel() {
    let directory = directory();
    let service = service(&directory);
    let (other, third) = (open_broker(), crowded_broker());
    let (clients, open, crowded) = (
        Clients::new(&service.broker),
        Clients::new(&other),
        Clients::new(&third),
    );
    let (orphan, ending) = tokens(&service);
    heads(&clients);
    upgrades(&clients, &service);
    signatures(&clients, &service);
    calls(&clients, &service);
    let left = roles(&clients, &service);
    sign_ins(&clients, &service);
    temporary_credentials(&clients, &service, [&orphan, &ending, &left]);
    let drained = unsigned(&open);
    open.assert_kept();
    drop(drained);
    full(&crowded);
    let mut all = checks(&[&clients, &open, &crowded]);
    all.extend(ELSEWHERE);
    all.extend(EARLY);
    all.extend(OF_NODES);
    all.extend(OF_DEVICES);
    all.extend(OF_SIGN_INS);
    all.extend(OF_THINGS);
    all.extend(OF_PLAYERS);
    let missing: Vec<&Check> = Check::ALL
        .iter()
        .filter(|check| !all.contains(check))
        .collect();
    assert!(missing.is_empty(), "nobody brings about {missing:?}");

    for clients in [&clients, &crowded] {
        clients.assert_kept();
    }
    flood(&clients, &service);
    clients.assert_kept();
    explained(&clients);
    found_by_command(&clients);
    assert!(
        refusal(third.admin, &clients.seen.borrow()[0].id).is_none(),
        "of another broker"
    );

    let seen = clients.seen.into_inner();
    service.restart(&mut |again| {
        let clients = Clients {
            broker: again,
            seen: RefCell::new(seen.iter().map(Refusal::copy).collect()),
        };
        clients.assert_by_ids(again.admin);
    });
}

/// Forgeries from one address; a device elsewhere that is refused meanwhile is seen all the same.
fn flood(clients: &Clients<'_>, service: &Service) {
    let describe = json!({"ChannelName": "flooded"});
    let call = Call::api(&service.broker, "/describeSignalingChannel", &describe);
    let forged = Signer::new("stranger").sign(call);
    let mut flooder = Connection::open_from(FLOODER, service.broker.plain);
    for round in 0..FLOOD / PIPELINED {
        flooder.send(&forged.bytes().repeat(PIPELINED));
        for _ in 0..PIPELINED {
            let answer = flooder.answer().expect("an answer");
            answer.refused(403, "UnrecognizedClientException");
        }
        if round == FLOOD / PIPELINED / 2 {
            let viewer = Call::viewer(&service.broker, &arn("gate"), "device");
            clients.call(Check::SignatureMissing, Some("gate"), &viewer);
        }
    }
    let list = get(
        service.broker.admin,
        &format!("/refusals?remote={FLOODER}&limit=1000"),
    )
    .json();
    let kept = list["refusals"].as_array().expect("a list").len();
    assert!(kept > 0 && kept < FLOOD / 10, "{kept} of a flood are kept");
    let suppressed = service
        .broker
        .scrape()
        .sum("heliograph_log_suppressed_total");
    assert!(suppressed > 4_000.0, "{suppressed} of {FLOOD} were counted");
}

/// The page about a wrong signature shows what that was compared with, without its token.
fn explained(clients: &Clients<'_>) {
    let seen = clients.seen.borrow();
    let forged = seen
        .iter()
        .find(|seen| seen.check == Check::SignatureMismatch);
    let row = refusal(clients.broker.admin, &forged.expect("one").id).expect("it is kept");
    let canonical = row["explain"]["canonicalRequest"].as_str().expect("a text");
    testkit::assert_begins(&canonical, "GET\n/\nX-Amz-Algorithm=AWS4-HMAC-SHA256&");
    testkit::assert_has(&canonical, &["X-Amz-Security-Token=FwoGZXIv…"]);
    assert_eq!(row["explain"]["signedHeaders"], "host");
    assert_eq!(row["keyId"], "AKIDTEMPORARY");
    assert_eq!(row["principal"], "temporary");
    let policy = |check| {
        let denied = seen.iter().find(|seen| seen.check == check);
        refusal(clients.broker.admin, &denied.expect("one").id).expect("it is kept")["policy"]
            .take()
    };
    assert_eq!(
        policy(Check::PolicyExplicitDeny),
        "barred, statement 2, denies it"
    );
    assert_eq!(policy(Check::PolicyNoAllow), "nobody has no policy");
    let late = seen
        .iter()
        .find(|seen| seen.check == Check::SignatureExpired);
    let row = refusal(clients.broker.admin, &late.expect("one").id).expect("it is kept");
    let skew = row["clockSkewSeconds"].as_i64().expect("a number");
    assert!((-430..=-400).contains(&skew), "{row}");
}

/// `heliograph why` finds the same.
fn found_by_command(clients: &Clients<'_>) {
    let why = |arguments: &[&str]| {
        let exit = clients.broker.asked(&[&["why"], arguments].concat());
        (exit.code, exit.stdout, exit.stderr)
    };
    let seen = &clients.seen.borrow()[0];
    let from = seen.from.to_string();
    for arguments in [
        &[&*seen.id][..],
        &["--remote", &from],
        &["--check", seen.check.id()],
    ] {
        let (code, text, fault) = why(arguments);
        assert_eq!((code, &*fault), (Some(0), ""), "{arguments:?}");
        testkit::assert_has(&text, &[seen.check.says(), &seen.id]);
    }
    let (code, text, _) = why(&["--channel", "gate", "--client", "device", "--json"]);
    let list: Value = serde_json::from_str(&text).expect("a document");
    assert_eq!(code, Some(0));
    assert_eq!(list["refusals"][0]["check"], "signature_missing");
    for nothing in [
        &["00000000-0000-4000-8000-000000000000"][..],
        &["--key", "AKIDABSENT"],
        &["--check", "nonsense"],
    ] {
        let (code, text, fault) = why(nothing);
        assert_eq!((code, &*text), (Some(1), ""), "{nothing:?}");
        assert!(!fault.is_empty());
    }
}

#[test]
fn in_development_a_refusal_says_where_to_read_why() {
    let broker = Broker::dev(1);
    let answer = call(
        broker.plain,
        "/describeSignalingChannel",
        &json!({"ChannelName": "none"}),
    );
    let id = answer.header("x-amzn-requestid").expect("an id");
    let url = format!("http://{}/#/why/{id}", broker.admin);
    assert_eq!(answer.header("x-heliograph-why"), Some(&*url));
    let listed = call(broker.plain, "/listSignalingChannels", &json!({}));
    assert_eq!(
        listed.header("x-heliograph-why"),
        None,
        "nothing was refused"
    );
    let closed = Broker::strict_channels(1);
    let answer = call(
        closed.plain,
        "/describeSignalingChannel",
        &json!({"ChannelName": "none"}),
    );
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("x-heliograph-why"), None);
}
