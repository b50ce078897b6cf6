//! Each check brought about once.

use super::clients::Clients;
use crate::http::{Answer, Connection, admin, create, get, request};
use crate::peer::Peer;
use crate::process::{Broker, arn};
use crate::signed::service::{Service, credentials, ended, principal, temporary};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::{element, federate};
use broker_core::check::Check;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use testkit::{until, until_true};

pub(crate) fn heads(clients: &Clients<'_>) {
    let bytes = |check, text: &str| clients.bytes(check, None, text.as_bytes());
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

pub(crate) fn upgrades(clients: &Clients<'_>, service: &Service) {
    let (broker, admin) = (&service.broker, Signer::new("admin"));
    let arn = arn("gate");
    let gate = Some("gate");
    let master = || Call::master(broker, &arn);
    clients.call(Check::NotWebsocket, gate, &master().without("Upgrade"));
    clients.call(
        Check::HandshakeMalformed,
        gate,
        &master().without("Sec-WebSocket-Key"),
    );
    let version = master().with("Sec-WebSocket-Version", |_| "12".into());
    clients.call(Check::WebsocketVersion, gate, &version);
    clients.call(Check::QueryMalformed, gate, &master().pair("%FF", "1"));
    clients.call(
        Check::ParameterTwice,
        gate,
        &master().pair("X-Amz-ChannelARN", &arn),
    );
    let nonsense = admin.presign(Call::master(broker, "nonsense"), 60);
    clients.call(Check::ArnMalformed, Some("nonsense"), &nonsense);
    let spaced = admin.presign(Call::viewer(broker, &arn, "a b"), 60);
    clients.call(Check::ClientIdMalformed, gate, &spaced);
    let of_viewers = Call {
        host: "v-00000000.kvs.test".into(),
        ..master()
    };
    clients.call(
        Check::RoleHostMismatch,
        gate,
        &admin.presign(of_viewers, 60),
    );
    clients.call(Check::ChannelAbsent, gate, &admin.presign(master(), 60));
}

pub(crate) fn signatures(clients: &Clients<'_>, service: &Service) {
    let (broker, admin) = (&service.broker, Signer::new("admin"));
    let arn = arn("gate");
    let gate = Some("gate");
    let viewer = || Call::viewer(broker, &arn, "v1");
    let signed = |signer: &Signer| signer.presign(viewer(), 60);
    clients.call(Check::SignatureMissing, gate, &viewer());
    let broken = signed(&admin).with("X-Amz-Signature", |_| "xyz".into());
    clients.call(Check::SignatureMalformed, gate, &broken);
    let list = || Call::api(broker, "/listSignalingChannels", &json!({}));
    clients.call(
        Check::SignatureExpired,
        None,
        &admin.ahead(-400).sign(list()),
    );
    clients.call(Check::SignatureEarly, None, &admin.ahead(400).sign(list()));
    clients.call(
        Check::UrlExpired,
        gate,
        &admin.ahead(-60).presign(viewer(), 30),
    );
    clients.call(Check::ScopeService, gate, &signed(&admin.of_service("s3")));
    let elsewhere = Signer {
        region: "eu-west-1",
        ..admin.clone()
    };
    clients.call(Check::ScopeRegion, gate, &signed(&elsewhere));
    let scope = |text: &str| text.replace("aws4_request", "aws5_request");
    clients.call(
        Check::ScopeMalformed,
        gate,
        &signed(&admin).with("X-Amz-Credential", scope),
    );
    clients.call(Check::UnknownKey, gate, &signed(&Signer::new("stranger")));
    let sealed_elsewhere = Signer {
        id: "ASIAABCDEFGHIJKLMNOP".into(),
        token: Some("A".repeat(200)),
        ..admin.clone()
    };
    clients.call(Check::TokenUnsealed, gate, &signed(&sealed_elsewhere));
    let without = Signer {
        token: None,
        ..temporary()
    };
    clients.call(Check::TokenMismatch, gate, &signed(&without));
    clients.call(Check::KeyExpired, gate, &signed(&ended()));
    let forged = signed(&temporary()).with("X-Amz-Signature", |text| {
        let last = if text.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &text[..text.len() - 1])
    });
    clients.call(Check::SignatureMismatch, gate, &forged);
    clients.call(Check::PolicyNoAllow, gate, &signed(&Signer::new("nobody")));
    let barred =
        Signer::new("barred").presign(Call::master(broker, &crate::process::arn("cam-2")), 60);
    clients.call(Check::PolicyExplicitDeny, Some("cam-2"), &barred);
    clients.call(
        Check::AccountHidden,
        gate,
        &signed(&Signer::new("neighbour")),
    );
}

pub(crate) fn calls(clients: &Clients<'_>, service: &Service) {
    let (broker, admin) = (&service.broker, Signer::new("admin"));
    let api = |path: &str, body: &Value| admin.sign(Call::api(broker, path, body));
    let create = |name: &str| api("/createSignalingChannel", &json!({"ChannelName": name}));
    let arn = service.create(&admin, "door");
    let door = Some("door");
    clients.call(Check::ChannelExists, door, &create("door"));
    let (rest, _) = arn.rsplit_once('/').expect("a time");
    let stale = admin.presign(Call::master(broker, &format!("{rest}/1")), 60);
    clients.call(Check::ChannelStaleArn, door, &stale);
    let update = json!({"ChannelARN": arn, "CurrentVersion": "x",
        "SingleMasterConfiguration": {"MessageTtlSeconds": 60}});
    clients.call(
        Check::ChannelVersionStale,
        door,
        &api("/updateSignalingChannel", &update),
    );
    let tags: Vec<Value> = (0..51)
        .map(|n| json!({"Key": format!("k{n}"), "Value": "v"}))
        .collect();
    let tags = json!({"ResourceARN": arn, "Tags": tags});
    clients.call(Check::TagsFull, None, &api("/TagResource", &tags));
    let storage = json!({"channelArn": arn});
    clients.call(
        Check::MediaStorageAbsent,
        door,
        &api("/joinStorageSession", &storage),
    );
    clients.call(
        Check::ArgumentInvalid,
        None,
        &api("/describeSignalingChannel", &json!({})),
    );
    let broken = Call {
        body: "[".into(),
        ..Call::api(broker, "/listSignalingChannels", &json!({}))
    };
    clients.call(Check::BodyMalformed, None, &admin.sign(broken));
    let _taken = service.connect(&admin.presign(Call::viewer(broker, &arn, "v1"), 60));
    let second = admin.presign(Call::viewer(broker, &arn, "v2"), 60);
    clients.call(Check::ViewersFull, door, &second);
    let describe = || api("/describeSignalingChannel", &json!({"ChannelARN": arn}));
    clients.often(Check::RateChannel, door, describe);
    clients.often(Check::RateAccount, None, || {
        api("/listSignalingChannels", &json!({}))
    });
    clients.often(Check::RateConnect, door, || {
        admin.presign(Call::master(broker, &arn), 60)
    });
    let [one, ..] = ["one", "two", "three", "four"].map(|name| service.create(&admin, name));
    clients.call(Check::ChannelsFull, Some("six"), &create("six"));
    let tags: Vec<Value> = (0..50)
        .map(|n| json!({"Key": format!("k{n}"), "Value": "語".repeat(256)}))
        .collect();
    let tag = |arn: &str| api("/TagResource", &json!({"ResourceARN": arn, "Tags": tags}));
    service.send(&tag(&arn)).ok();
    clients.call(Check::RecordsFull, Some("one"), &tag(&one));
}

/// Temporary credentials of a principal that leaves, and of one that ends.
pub(crate) fn tokens(service: &Service) -> (Signer, Signer) {
    let of = |name: &str| {
        let signer = Signer::new(name);
        service.keep(&signer.secret);
        federate(service, &signer, "").0
    };
    (of("leaving"), of("ending"))
}

/// Roles that the credentials file begins with: one that `leaving` may assume, one that denies it.
pub(crate) const ROLES: &str = r#"
[role.left]
trust = '{"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}'
[role.closed]
trust = '{"Statement": {"Effect": "Deny", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}'
[role.strange]
trust = '{"Statement": {"Effect": "Allow", "Principal": {"AWS": "210987654321"}, "Action": "sts:AssumeRole"}}'
[oidc_provider."127.0.0.1:1"]
client_ids = ["app"]
"#;

/// A call for a session of a role.
fn assume(broker: &Broker, role: &str) -> Call {
    let role = format!("arn:aws:iam::123456789012:role/{role}");
    let form = [
        ("Action", "AssumeRole"),
        ("RoleArn", &role),
        ("RoleSessionName", "s1"),
    ];
    Call::sts(broker, &form)
}

/// A sign-in with a token that no provider made.
pub(crate) fn sign_ins(clients: &Clients<'_>, service: &Service) {
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", "arn:aws:iam::123456789012:role/left"),
        ("RoleSessionName", "s1"),
        ("WebIdentityToken", "e30.e30.e30"),
    ];
    let call = Call::sts(&service.broker, &form);
    clients.call(Check::WebTokenInvalid, None, &call);
}

/// Sessions of roles that are refused. Returns one of a role that leaves.
pub(crate) fn roles(clients: &Clients<'_>, service: &Service) -> Signer {
    let admin = Signer::new("admin").of_service("sts");
    for (check, role) in [
        (Check::RoleAbsent, "absent"),
        (Check::TrustNoAllow, "strange"),
        (Check::TrustExplicitDeny, "closed"),
    ] {
        let call = admin.sign(assume(&service.broker, role));
        clients.call(check, None, &call);
    }
    let answer = service.send(&admin.sign(assume(&service.broker, "left")));
    let body = answer.text();
    let own = |name: &str| element(&body, name).to_owned();
    Signer {
        id: own("AccessKeyId"),
        secret: own("SecretAccessKey"),
        token: Some(own("SessionToken")),
        ..Signer::new("left")
    }
}

pub(crate) fn temporary_credentials(
    clients: &Clients<'_>,
    service: &Service,
    [orphan, ending, left]: [&Signer; 3],
) {
    let broker = &service.broker;
    let gate = arn("gate");
    let viewer = |signer: &Signer| signer.presign(Call::viewer(broker, &gate, "v1"), 60);
    let policy = [
        ("Action", "GetFederationToken"),
        ("Name", "web-1"),
        ("Policy", "{"),
    ];
    let admin = Signer::new("admin").of_service("sts");
    clients.call(
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
    clients.call(Check::RoleGone, Some("gate"), &viewer(left));
    clients.call(Check::TokenOrphaned, Some("gate"), &viewer(orphan));
    clients.call(Check::TokenExpired, Some("gate"), &viewer(ending));
}

pub(crate) fn open_broker() -> Broker {
    let config =
        "[timeouts]\nhead = \"1s\"\nbody = \"1s\"\ndrain = \"20s\"\n[whep]\nwait = \"1s\"\n";
    Broker::configured(config, 1)
}

/// Refusals where no signature is asked for; ends with a drain, which lasts while the peer is there.
pub(crate) fn unsigned(clients: &Clients<'_>) -> Peer {
    let post = |lines: &str| {
        format!("POST /describeSignalingChannel HTTP/1.1\r\n{lines}Content-Length: 9\r\n\r\n")
    };
    let bytes = |check, text: String| clients.bytes(check, None, text.as_bytes());
    bytes(
        Check::OriginForeign,
        post("Host: localhost\r\nOrigin: https://evil.example\r\n"),
    );
    bytes(Check::HostForeign, post("Host: evil.example\r\n"));
    bytes(Check::BodyTimeout, post("Host: localhost\r\n"));
    alexa_calls(clients);
    players(clients);
    let fault = json!({"on": "api", "match": {"channel": "faulty"}, "do": "throttle", "times": 1});
    let made = admin(
        clients.broker.admin,
        "POST",
        "/dev/faults",
        &fault.to_string(),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let describe = json!({"ChannelName": "faulty"}).to_string();
    let faulty = request("/describeSignalingChannel", &describe);
    clients.bytes(Check::FaultInjected, Some("faulty"), &faulty);
    let kept = Peer::master(clients.broker, &arn("drained"));
    clients.broker.signal("TERM");
    let ready = || get(clients.broker.admin, "/ready").status;
    until_true("the drain", || ready() == 503);
    let body = json!({"ChannelName": "drained"}).to_string();
    clients.bytes(
        Check::Draining,
        None,
        &request("/describeSignalingChannel", &body),
    );
    kept
}

/// What players are refused.
fn players(clients: &Clients<'_>) {
    let of = |method: &str, channel: &str, kind: &str, body: &str| {
        format!(
            "{method} /whep/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let sdp = "application/sdp";
    let bytes = |check, channel, text: String| clients.bytes(check, channel, text.as_bytes());
    create(clients.broker.plain, "dark", 60);
    let _silent = Peer::master(clients.broker, &arn("silent"));
    bytes(Check::WhepMethod, None, of("PATCH", "dark", sdp, ""));
    bytes(
        Check::WhepType,
        None,
        of("POST", "dark", "text/plain", "m="),
    );
    bytes(
        Check::WhepOffer,
        Some("dark"),
        of("POST", "dark", sdp, "v=0"),
    );
    bytes(
        Check::WhepNoMaster,
        Some("dark"),
        of("POST", "dark", sdp, "m="),
    );
    bytes(
        Check::WhepSilent,
        Some("silent"),
        of("POST", "silent", sdp, "m="),
    );
}

/// One call more than may wait on a channel.
fn alexa_calls(clients: &Clients<'_>) {
    let to = clients.broker.plain;
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
    until_true("all calls", || clients.broker.scrape().sum(waits) > 63.5);
    let one_more = request(path, &offer(64).to_string());
    clients.bytes(Check::AlexaCallsFull, Some("alexa"), &one_more);
}

pub(crate) fn crowded_broker() -> Broker {
    let config = "[limits]\nrequest_bytes = 1048576\n[timeouts]\nbody = \"60s\"\n";
    Broker::configured(config, 1)
}

/// Unfinished requests of one address, which pays first, until one of them is refused.
pub(crate) fn full(clients: &Clients<'_>) {
    const BODY: usize = 60_000;
    let unfinished = {
        let head = "POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\n\r\n";
        [head.as_bytes(), &[b' '; BODY]].concat()
    };
    let mut held: Vec<Connection> = Vec::new();
    let refused = "heliograph_refusals_total{check=\"requests_full\"}";
    // One after the other, so that exactly one of them is refused.
    while clients.broker.scrape().sum(refused) < 0.5 {
        assert!(held.len() < 200, "nobody is refused");
        let mut connection = clients.open();
        connection.send(&unfinished);
        held.push(connection);
        until_true("what becomes of it", || {
            let scrape = clients.broker.scrape();
            let taken = scrape.sum("heliograph_request_bytes");
            taken >= (BODY * held.len()) as f64 || scrape.sum(refused) > 0.5
        });
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
    clients.note(Check::RequestsFull, None, &answer);
}
