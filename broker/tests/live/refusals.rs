//! Why a request was refused: each check brought about, and found by id, by address and by channel; after a flood, and
//! by the id alone after a restart.

use crate::http::{Answer, Connection, admin, call, create, get, request};
use crate::peer::{Peer, percent_encoded};
use crate::process::{Broker, arn, command, fresh_directory, until};
use crate::signed_service::{Service, credentials, ended, principal, temporary};
use crate::signed_signer::{Call, Signer, now_s};
use crate::signed_sts::federate;
use broker_core::check::Check;
use codec::aws::sigv4::Stamp;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

/// What no client of a healthy broker can bring about: the simulation does, where it compares each refusal's check and
/// id with the model's (`MUST_HIT` in `broker/core/tests/sim/faults.rs`); and a fault of the broker itself.
const ELSEWHERE: [Check; 7] = [
    Check::ChannelDeleting,
    Check::MailboxFull,
    Check::ChangesFull,
    Check::StoreFailed,
    Check::AuditFull,
    Check::ReplyTimeout,
    Check::InternalFailure,
];

/// Requests of a flood, and how many are under way.
const FLOOD: usize = 5_000;
const PIPELINED: usize = 50;
const FLOODER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 77, 77));

/// A refusal as its client saw it.
struct Seen {
    check: Check,
    id: String,
    status: u16,
    from: IpAddr,
    channel: Option<String>,
}

/// Brings refusals about, each from a network of its own: the log shares its lines out among networks.
struct Desk<'b> {
    broker: &'b Broker,
    seen: RefCell<Vec<Seen>>,
}

impl<'b> Desk<'b> {
    fn new(broker: &'b Broker) -> Self {
        Self {
            broker,
            seen: RefCell::default(),
        }
    }

    fn network(&self) -> IpAddr {
        let number = u8::try_from(self.seen.borrow().len() + 1).expect("few");
        Ipv4Addr::new(127, 9, number, 1).into()
    }

    fn open(&self) -> Connection {
        Connection::open_from(self.network(), self.broker.plain)
    }

    fn note(&self, check: Check, channel: Option<&str>, answer: &Answer) {
        assert!(answer.status >= 400, "{check:?}: {answer:?}");
        let id = answer.header("x-amzn-requestid").expect("an id").to_owned();
        let seen = Seen {
            check,
            id,
            status: answer.status,
            from: self.network(),
            channel: channel.map(str::to_owned),
        };
        self.seen.borrow_mut().push(seen);
    }

    /// These bytes are refused.
    fn bytes(&self, check: Check, channel: Option<&str>, bytes: &[u8]) {
        let mut connection = self.open();
        connection.send(bytes);
        let answer = connection.answer();
        let answer = answer.unwrap_or_else(|| panic!("no answer: {check:?}"));
        self.note(check, channel, &answer);
    }

    fn call(&self, check: Check, channel: Option<&str>, call: &Call) {
        self.bytes(check, channel, &call.bytes());
    }

    /// This is refused sooner or later.
    fn often(&self, check: Check, channel: Option<&str>, call: impl Fn() -> Call) {
        let answer = until("a refusal", || {
            let mut connection = self.open();
            connection.send(&call().bytes());
            connection.answer().filter(|answer| answer.status >= 400)
        });
        self.note(check, channel, &answer);
    }

    /// Each refusal is kept, and found by whatever is known of it.
    fn assert_kept(&self) {
        let admin = self.broker.admin;
        for seen in self.seen.borrow().iter() {
            let row = until("the refusal", || {
                let row = refusal(admin, &seen.id)?;
                (row["source"] == "kept").then_some(row)
            });
            seen.assert_is(&row);
            assert_eq!(row["channel"], json!(seen.channel), "{row}");
            let ids = |query: String| -> Vec<String> {
                let list = get(admin, &format!("/refusals?{query}")).json();
                let rows = list["refusals"].as_array().expect("a list").iter();
                rows.map(|row| row["requestId"].as_str().expect("an id").to_owned())
                    .collect()
            };
            assert_eq!(
                ids(format!("remote={}", seen.from)),
                std::slice::from_ref(&seen.id),
                "{row}"
            );
            assert!(
                ids(format!("check={}&limit=1000", seen.check.id())).contains(&seen.id),
                "{row}"
            );
            if let Some(channel) = &seen.channel {
                let channel = percent_encoded(channel);
                assert!(
                    ids(format!("channel={channel}&limit=1000")).contains(&seen.id),
                    "{row}"
                );
            }
        }
    }

    /// The ids alone say why, to this broker.
    fn assert_by_ids(self, admin: SocketAddr) {
        assert_eq!(get(admin, "/refusals").json()["kept"], 0, "nothing is kept");
        for seen in self.seen.into_inner() {
            let row = refusal(admin, &seen.id).expect("an id that says why");
            assert_eq!(row["source"], "id");
            seen.assert_is(&row);
            assert!(row["channel"].is_null() && row["remote"].is_null(), "{row}");
        }
    }
}

impl Seen {
    fn assert_is(&self, row: &Value) {
        let found = (&row["check"], &row["status"], &row["requestId"]);
        assert_eq!(
            found,
            (
                &json!(self.check.id()),
                &json!(self.status),
                &json!(self.id)
            ),
            "{row}"
        );
        assert_eq!(row["says"], json!(self.check.says()));
        assert_eq!(row["do"], json!(self.check.remedy()));
        let at = row["at"].as_str().expect("a moment");
        let now = Stamp::from_epoch(now_s()).to_string();
        assert_eq!(at.get(..4), now.get(..4), "of this year: {row}");
    }
}

fn refusal(admin: SocketAddr, id: &str) -> Option<Value> {
    let answer = get(admin, &format!("/refusals/{id}"));
    (answer.status == 200).then(|| answer.json())
}

fn checks(desks: &[&Desk<'_>]) -> BTreeSet<Check> {
    let all = desks.iter().flat_map(|desk| {
        let seen = desk.seen.borrow();
        seen.iter().map(|seen| seen.check).collect::<Vec<_>>()
    });
    all.collect()
}

const LIMITS: &str = "
[limits]
viewers_per_channel = 1
channels_per_account = 5
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
        + &principal("ending", r#"["all"]"#, "");
    fs::write(directory.join("broker.toml"), LIMITS).expect("a file under target/");
    Service::in_directory(directory, &text, 2)
}

#[test]
fn each_check_is_found_by_id_by_address_and_by_channel() {
    let directory = fresh_directory();
    let service = service(&directory);
    let (other, third) = (open_desk(), crowded_desk());
    let (desk, open, crowded) = (
        Desk::new(&service.broker),
        Desk::new(&other),
        Desk::new(&third),
    );
    let (orphan, ending) = tokens(&service);
    heads(&desk);
    upgrades(&desk, &service);
    signatures(&desk, &service);
    calls(&desk, &service);
    temporary_credentials(&desk, &service, &orphan, &ending);
    let drained = unsigned(&open);
    open.assert_kept();
    drop(drained);
    full(&crowded);
    let mut all = checks(&[&desk, &open, &crowded]);
    all.extend(ELSEWHERE);
    let missing: Vec<&Check> = Check::ALL
        .iter()
        .filter(|check| !all.contains(check))
        .collect();
    assert!(missing.is_empty(), "nobody brings about {missing:?}");

    for desk in [&desk, &crowded] {
        desk.assert_kept();
    }
    flood(&desk, &service);
    desk.assert_kept();
    explained(&desk);
    asked_by_command(&desk);
    assert!(
        refusal(third.admin, &desk.seen.borrow()[0].id).is_none(),
        "of another broker"
    );

    let seen = desk.seen.into_inner();
    service.restart(&mut |again| {
        let desk = Desk {
            broker: again,
            seen: RefCell::new(seen.iter().map(Seen::copy).collect()),
        };
        desk.assert_by_ids(again.admin);
    });
    let _ = fs::remove_dir_all(&directory);
}

impl Seen {
    fn copy(&self) -> Self {
        Self {
            id: self.id.clone(),
            channel: self.channel.clone(),
            ..*self
        }
    }
}

fn heads(desk: &Desk<'_>) {
    let bytes = |check, text: &str| desk.bytes(check, None, text.as_bytes());
    bytes(Check::HttpMalformed, "GET / HTTP/1.1\r\nno colon\r\n\r\n");
    bytes(Check::HttpVersion, "GET / HTTP/2.0\r\nHost: h\r\n\r\n");
    let long = "x".repeat(20_000);
    bytes(Check::HeadTooLarge, &format!("GET /{long} HTTP/1.1\r\n"));
    bytes(Check::HeadTimeout, "GET / HT");
    let post = "POST /describeSignalingChannel HTTP/1.1\r\nHost: h\r\n";
    bytes(
        Check::BodyLengthMissing,
        &format!("{post}Transfer-Encoding: chunked\r\n\r\n"),
    );
    bytes(
        Check::BodyTooLarge,
        &format!("{post}Content-Length: 70000\r\n\r\n"),
    );
    bytes(
        Check::OperationUnknown,
        "POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    );
}

fn upgrades(desk: &Desk<'_>, service: &Service) {
    let (broker, admin) = (&service.broker, Signer::new("admin"));
    let arn = arn("gate");
    let gate = Some("gate");
    let master = || Call::master(broker, &arn);
    desk.call(Check::NotWebsocket, gate, &master().without("Upgrade"));
    desk.call(
        Check::HandshakeMalformed,
        gate,
        &master().without("Sec-WebSocket-Key"),
    );
    let version = master().with("Sec-WebSocket-Version", |_| "12".into());
    desk.call(Check::WebsocketVersion, gate, &version);
    desk.call(Check::QueryMalformed, gate, &master().pair("%FF", "1"));
    desk.call(
        Check::ParameterTwice,
        gate,
        &master().pair("X-Amz-ChannelARN", &arn),
    );
    let nonsense = admin.presign(Call::master(broker, "nonsense"), 60);
    desk.call(Check::ArnMalformed, Some("nonsense"), &nonsense);
    let spaced = admin.presign(Call::viewer(broker, &arn, "a b"), 60);
    desk.call(Check::ClientIdMalformed, gate, &spaced);
    let of_viewers = Call {
        host: "v-00000000.kvs.test".into(),
        ..master()
    };
    desk.call(
        Check::RoleHostMismatch,
        gate,
        &admin.presign(of_viewers, 60),
    );
    desk.call(Check::ChannelAbsent, gate, &admin.presign(master(), 60));
}

fn signatures(desk: &Desk<'_>, service: &Service) {
    let (broker, admin) = (&service.broker, Signer::new("admin"));
    let arn = arn("gate");
    let gate = Some("gate");
    let viewer = || Call::viewer(broker, &arn, "v1");
    let signed = |signer: &Signer| signer.presign(viewer(), 60);
    desk.call(Check::SignatureMissing, gate, &viewer());
    let broken = signed(&admin).with("X-Amz-Signature", |_| "xyz".into());
    desk.call(Check::SignatureMalformed, gate, &broken);
    let list = || Call::api(broker, "/listSignalingChannels", &json!({}));
    desk.call(
        Check::SignatureExpired,
        None,
        &admin.ahead(-400).sign(list()),
    );
    desk.call(Check::SignatureEarly, None, &admin.ahead(400).sign(list()));
    desk.call(
        Check::UrlExpired,
        gate,
        &admin.ahead(-60).presign(viewer(), 30),
    );
    desk.call(Check::ScopeService, gate, &signed(&admin.of_service("s3")));
    let elsewhere = Signer {
        region: "eu-west-1",
        ..admin.clone()
    };
    desk.call(Check::ScopeRegion, gate, &signed(&elsewhere));
    let scope = |text: &str| text.replace("aws4_request", "aws5_request");
    desk.call(
        Check::ScopeMalformed,
        gate,
        &signed(&admin).with("X-Amz-Credential", scope),
    );
    desk.call(Check::UnknownKey, gate, &signed(&Signer::new("stranger")));
    let sealed_elsewhere = Signer {
        id: "ASIAABCDEFGHIJKLMNOP".into(),
        token: Some("A".repeat(200)),
        ..admin.clone()
    };
    desk.call(Check::TokenUnsealed, gate, &signed(&sealed_elsewhere));
    let without = Signer {
        token: None,
        ..temporary()
    };
    desk.call(Check::TokenMismatch, gate, &signed(&without));
    desk.call(Check::KeyExpired, gate, &signed(&ended()));
    let forged = signed(&temporary()).with("X-Amz-Signature", |text| {
        let last = if text.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &text[..text.len() - 1])
    });
    desk.call(Check::SignatureMismatch, gate, &forged);
    desk.call(Check::PolicyNoAllow, gate, &signed(&Signer::new("nobody")));
    let barred =
        Signer::new("barred").presign(Call::master(broker, &crate::process::arn("cam-2")), 60);
    desk.call(Check::PolicyExplicitDeny, Some("cam-2"), &barred);
    desk.call(
        Check::AccountHidden,
        gate,
        &signed(&Signer::new("neighbour")),
    );
}

fn calls(desk: &Desk<'_>, service: &Service) {
    let (broker, admin) = (&service.broker, Signer::new("admin"));
    let api = |path: &str, body: &Value| admin.sign(Call::api(broker, path, body));
    let create = |name: &str| api("/createSignalingChannel", &json!({"ChannelName": name}));
    let arn = service.create(&admin, "door");
    let door = Some("door");
    desk.call(Check::ChannelExists, door, &create("door"));
    let (rest, _) = arn.rsplit_once('/').expect("a time");
    let stale = admin.presign(Call::master(broker, &format!("{rest}/1")), 60);
    desk.call(Check::ChannelStaleArn, door, &stale);
    let update = json!({"ChannelARN": arn, "CurrentVersion": "x",
        "SingleMasterConfiguration": {"MessageTtlSeconds": 60}});
    desk.call(
        Check::ChannelVersionStale,
        door,
        &api("/updateSignalingChannel", &update),
    );
    let tags: Vec<Value> = (0..51)
        .map(|n| json!({"Key": format!("k{n}"), "Value": "v"}))
        .collect();
    let tags = json!({"ResourceARN": arn, "Tags": tags});
    desk.call(Check::TagsFull, None, &api("/TagResource", &tags));
    let storage = json!({"channelArn": arn});
    desk.call(
        Check::MediaStorageAbsent,
        door,
        &api("/joinStorageSession", &storage),
    );
    desk.call(
        Check::ArgumentInvalid,
        None,
        &api("/describeSignalingChannel", &json!({})),
    );
    let broken = Call {
        body: "[".into(),
        ..Call::api(broker, "/listSignalingChannels", &json!({}))
    };
    desk.call(Check::BodyMalformed, None, &admin.sign(broken));
    let _taken = service.connect(&admin.presign(Call::viewer(broker, &arn, "v1"), 60));
    let second = admin.presign(Call::viewer(broker, &arn, "v2"), 60);
    desk.call(Check::ViewersFull, door, &second);
    let describe = || api("/describeSignalingChannel", &json!({"ChannelARN": arn}));
    desk.often(Check::RateChannel, door, describe);
    desk.often(Check::RateAccount, None, || {
        api("/listSignalingChannels", &json!({}))
    });
    desk.often(Check::RateConnect, door, || {
        admin.presign(Call::master(broker, &arn), 60)
    });
    for name in ["one", "two", "three", "four"] {
        service.create(&admin, name);
    }
    desk.call(Check::ChannelsFull, Some("six"), &create("six"));
}

/// Temporary credentials of a principal that leaves, and of one that ends.
fn tokens(service: &Service) -> (Signer, Signer) {
    let of = |name: &str| {
        let signer = Signer::new(name);
        service.keep(&signer.secret);
        federate(service, &signer, "").0
    };
    (of("leaving"), of("ending"))
}

fn temporary_credentials(desk: &Desk<'_>, service: &Service, orphan: &Signer, ending: &Signer) {
    let broker = &service.broker;
    let gate = arn("gate");
    let viewer = |signer: &Signer| signer.presign(Call::viewer(broker, &gate, "v1"), 60);
    let policy = [
        ("Action", "GetFederationToken"),
        ("Name", "web-1"),
        ("Policy", "{"),
    ];
    let admin = Signer::new("admin").of_service("sts");
    desk.call(
        Check::SessionPolicyMalformed,
        None,
        &admin.sign(Call::sts(broker, &policy)),
    );
    fs::write(
        service.directory.join("credentials.toml"),
        credentials() + &principal("ending", r#"["all"]"#, "expires = 2026-01-01T00:00:00Z\n"),
    )
    .expect("written");
    broker.signal("HUP");
    broker.logged(&["credentials in force"], 1);
    desk.call(Check::TokenOrphaned, Some("gate"), &viewer(orphan));
    desk.call(Check::TokenExpired, Some("gate"), &viewer(ending));
}

fn open_desk() -> Broker {
    let config = "[timeouts]\nhead = \"1s\"\nbody = \"1s\"\ndrain = \"20s\"\n";
    Broker::configured(config, 1)
}

/// Where no signature is asked for; ends with a drain, which lasts while the peer is there.
fn unsigned(desk: &Desk<'_>) -> Peer {
    let post = |lines: &str| {
        format!("POST /describeSignalingChannel HTTP/1.1\r\n{lines}Content-Length: 9\r\n\r\n")
    };
    let bytes = |check, text: String| desk.bytes(check, None, text.as_bytes());
    bytes(
        Check::OriginForeign,
        post("Host: localhost\r\nOrigin: https://evil.example\r\n"),
    );
    bytes(Check::HostForeign, post("Host: evil.example\r\n"));
    bytes(Check::BodyTimeout, post("Host: localhost\r\n"));
    alexa_calls(desk);
    let fault = json!({"on": "api", "match": {"channel": "faulty"}, "do": "throttle", "times": 1});
    let made = admin(desk.broker.admin, "POST", "/dev/faults", &fault.to_string());
    assert_eq!(made.status, 201, "{}", made.text());
    let describe = json!({"ChannelName": "faulty"}).to_string();
    let faulty = request("/describeSignalingChannel", &describe);
    desk.bytes(Check::FaultInjected, Some("faulty"), &faulty);
    let kept = Peer::master(desk.broker, &arn("drained"));
    desk.broker.signal("TERM");
    let ready = || get(desk.broker.admin, "/ready").status;
    until("the drain", || (ready() == 503).then_some(()));
    let body = json!({"ChannelName": "drained"}).to_string();
    desk.bytes(
        Check::Draining,
        None,
        &request("/describeSignalingChannel", &body),
    );
    kept
}

/// One call more than may wait on a channel.
fn alexa_calls(desk: &Desk<'_>) {
    let to = desk.broker.plain;
    let arn = create(to, "alexa", 60);
    let offer = |sender: usize| {
        let sender = format!("alexa{sender}");
        json!({"ChannelARN": arn, "SenderClientId": sender, "MessagePayload": "b2ZmZXI="})
    };
    let path = "/v1/send-alexa-offer-to-master";
    let mut waiting = Vec::new();
    for sender in 0..64 {
        let mut connection = Connection::open(to);
        connection.send(&request(path, &offer(sender).to_string()));
        waiting.push(connection);
    }
    let waits = "heliograph_pending_messages";
    until("all calls", || {
        (desk.broker.scrape().sum(waits) > 63.5).then_some(())
    });
    let one_more = request(path, &offer(64).to_string());
    desk.bytes(Check::AlexaCallsFull, Some("alexa"), &one_more);
}

fn crowded_desk() -> Broker {
    let config = "[limits]\nrequest_bytes = 1048576\n[timeouts]\nbody = \"60s\"\n";
    Broker::configured(config, 1)
}

/// Unfinished requests of one address, which pays first, until one of them is refused.
fn full(desk: &Desk<'_>) {
    let unfinished = {
        let head = "POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\n\r\n";
        [head.as_bytes(), &[b' '; 60_000]].concat()
    };
    let mut held: Vec<Connection> = Vec::new();
    let refused = "heliograph_refusals_total{check=\"requests_full\"}";
    while desk.broker.scrape().sum(refused) < 0.5 {
        assert!(held.len() < 200, "nobody is refused");
        let mut connection = desk.open();
        connection.send(&unfinished);
        held.push(connection);
    }
    let streams = held.into_iter().map(|connection| connection.into_parts().0);
    let streams: Vec<TcpStream> = streams.collect();
    let id = until("the refusal", || {
        streams.iter().find_map(|stream| {
            stream.set_nonblocking(true).expect("a socket");
            let mut bytes = [0; 2048];
            let read = stream.peek(&mut bytes).ok()?;
            let text = String::from_utf8_lossy(bytes.get(..read)?).into_owned();
            let (_, rest) = text.split_once("x-amzn-RequestId: ")?;
            rest.get(..36).map(str::to_owned)
        })
    });
    let answer = Answer {
        status: 503,
        headers: vec![("x-amzn-requestid".into(), id)],
        body: Vec::new(),
    };
    desk.note(Check::RequestsFull, None, &answer);
}

/// Forgeries from one address; a device elsewhere that is refused meanwhile is seen all the same.
fn flood(desk: &Desk<'_>, service: &Service) {
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
            desk.call(Check::SignatureMissing, Some("gate"), &viewer);
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

/// What a wrong signature was compared with is shown, without its token.
fn explained(desk: &Desk<'_>) {
    let seen = desk.seen.borrow();
    let forged = seen
        .iter()
        .find(|seen| seen.check == Check::SignatureMismatch);
    let row = refusal(desk.broker.admin, &forged.expect("one").id).expect("it is kept");
    let canonical = row["explain"]["canonicalRequest"].as_str().expect("a text");
    assert!(
        canonical.starts_with("GET\n/\nX-Amz-Algorithm=AWS4-HMAC-SHA256&"),
        "{canonical}"
    );
    assert!(
        canonical.contains("X-Amz-Security-Token=FwoGZXIv…"),
        "{canonical}"
    );
    assert_eq!(row["explain"]["signedHeaders"], "host");
    assert_eq!(
        (&row["keyId"], &row["principal"]),
        (&json!("AKIDTEMPORARY"), &json!("temporary"))
    );
    let late = seen
        .iter()
        .find(|seen| seen.check == Check::SignatureExpired);
    let row = refusal(desk.broker.admin, &late.expect("one").id).expect("it is kept");
    let skew = row["clockSkewSeconds"].as_i64().expect("a number");
    assert!((-430..=-400).contains(&skew), "{row}");
}

/// `broker why` finds the same.
fn asked_by_command(desk: &Desk<'_>) {
    let admin = format!("http://{}", desk.broker.admin);
    let why = |arguments: &[&str]| {
        let output = command()
            .arg("why")
            .args(arguments)
            .args(["--admin", &admin])
            .output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let fault = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text, fault)
    };
    let seen = &desk.seen.borrow()[0];
    let from = seen.from.to_string();
    for arguments in [
        &[&*seen.id][..],
        &["--remote", &from],
        &["--check", seen.check.id()],
    ] {
        let (code, text, fault) = why(arguments);
        assert_eq!((code, &*fault), (Some(0), ""), "{arguments:?}");
        assert!(
            text.contains(seen.check.says()) && text.contains(&seen.id),
            "{text}"
        );
    }
    let (code, text, _) = why(&["--channel", "gate", "--client", "device", "--json"]);
    let list: Value = serde_json::from_str(&text).expect("a document");
    assert_eq!(
        (code, &list["refusals"][0]["check"]),
        (Some(0), &json!("signature_missing"))
    );
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
    assert_eq!(
        (answer.status, answer.header("x-heliograph-why")),
        (404, None)
    );
}
