//! Players of others, by the requests that their sources send, byte for byte: go2rtc knows a URL alone; MediaMTX has a
//! bearer, and asks for ICE servers first. Both are written in Go, whose client orders the lines of a head.

use crate::http::{Answer, Connection};
use crate::peer::{Peer, answer, candidate_to};
use crate::signed::service::{Service, credentials, principal};
use crate::signed::signer::{Call, Signer};
use base64_simd::STANDARD;
use serde_json::{Value, json};
use tungstenite::Message;

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\n\
                     m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=recvonly\r\na=end-of-candidates\r\n";
const ANSWER: &str = "v=0\r\no=- 2 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n";
const CANDIDATE: &str = "candidate:1 1 udp 2122252543 192.0.2.17 5000 typ host";

const WHEP: &str = r#"
[whep]
on = true
quiet = "5s"
gather_max = "6s"
wait = "9s"
[[ice]]
urls = ["turn:192.0.2.3:3478?transport=udp"]
secret = "north-wind"
"#;

/// The policy that ends one URL, as deploy/POLICIES.md has it, and one without ICE servers.
const POLICIES: &str = r#"
[policy.ended]
document = '''{"Statement": [{"Effect": "Deny", "Resource": "*",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "ended-1"}}}]}'''
[policy.bare]
document = '{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*"}}'
"#;

#[test]
fn players_of_others_are_answered_until_their_client_id_is_denied() {
    let wall = principal("wall", r#"["all", "ended"]"#, "");
    let bare = principal("bare", r#"["bare"]"#, "");
    let text = wall + &bare + &credentials() + POLICIES;
    let service = Service::configured(WHEP, &text, 2);
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "cam-1");
    let mut camera = service.master(&admin, &arn);
    let (url, token) = signed(&service, "wall", "cam-1", "wall-1");
    // go2rtc.
    let answered = post(&service, &mut camera, &url, "");
    assert_eq!(answered.header("content-type"), Some("application/sdp"));
    // MediaMTX.
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let servers = send(&service, "OPTIONS", "/whep/cam-1", &bearer);
    let links = servers.header("link").expect("a server");
    assert!(links.contains("<turn:192.0.2.3:3478?transport=udp>") && links.contains(":wall-1\""));
    assert_eq!(
        servers.header("access-control-allow-methods"),
        None,
        "PATCH in it asks for trickle"
    );
    let answered = post(&service, &mut camera, "/whep/cam-1", &bearer);
    let location = answered.header("location").expect("its call");
    assert!(
        location.starts_with("/whep/cam-1/") && !location.contains('?'),
        "{location}"
    );
    assert_eq!(send(&service, "DELETE", location, &bearer).status, 200);
    // Another client id is another URL.
    let (ended, token) = signed(&service, "wall", "cam-1", "ended-1");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    // Rights come before existence, and accounts do not see each other.
    let (barred, _) = signed(&service, "nobody", "none", "tv");
    let (foreign, _) = signed(&service, "neighbour", "cam-1", "tv");
    for (target, lines, status) in [
        (&*ended, "", 403),
        ("/whep/cam-1", &bearer, 403),
        (&url, &bearer, 403),
        (&barred, "", 403),
        (&foreign, "", 404),
    ] {
        let mut connection = Connection::open(service.broker.plain);
        connection.send(&go(
            &service,
            "POST",
            target,
            &(lines.to_owned() + TYPE),
            OFFER,
        ));
        let refused = connection.answer().expect("a refusal");
        assert_eq!(refused.status, status, "{target} {}", refused.text());
        assert_eq!(
            send(&service, "OPTIONS", target, lines).header("link"),
            None
        );
    }
    // ICE servers need their own permission.
    let (bare, _) = signed(&service, "bare", "cam-1", "tv");
    let servers = send(&service, "OPTIONS", &bare, "");
    assert_eq!((servers.status, servers.header("link")), (200, None));
    camera.expect_silence();
    let scrape = service.broker.scrape();
    let answered = scrape.sum("heliograph_whep_offers_total{outcome=\"answered\"}");
    let timed = scrape.sum("heliograph_whep_setup_seconds_count");
    assert!(
        (answered - 2.0).abs() < 0.5 && (timed - 2.0).abs() < 0.5,
        "{answered} {timed}"
    );
    camera.close();
    service.end();
}

/// A player's URL for a quarter, from its path on, and its token.
fn signed(service: &Service, by: &str, channel: &str, client_id: &str) -> (String, String) {
    let call = Call::new(&service.broker, "GET", &format!("/whep/{channel}"));
    let call = Signer::new(by).presign(call.pair("X-Amz-ClientId", client_id), 90 * 86_400);
    call.secrets()
        .iter()
        .for_each(|secret| service.keep(secret));
    let head = call.head();
    let target = head.split(' ').nth(1).expect("a target");
    let (_, token) = target.split_once('?').expect("a query");
    (target.to_owned(), token.to_owned())
}

/// Posts the offer; the camera answers, and sends its candidate beside the answer.
fn post(service: &Service, camera: &mut Peer, target: &str, lines: &str) -> Answer {
    let mut connection = Connection::open(service.broker.plain);
    connection.send(&go(
        service,
        "POST",
        target,
        &(lines.to_owned() + TYPE),
        OFFER,
    ));
    let Message::Text(offered) = camera.receive() else {
        panic!("no offer");
    };
    let offered: Value = serde_json::from_str(offered.as_str()).expect("JSON");
    let viewer = offered["senderClientId"].as_str().expect("a viewer");
    assert!(
        viewer.starts_with("wall-1-") && viewer.len() == 7 + 16,
        "{viewer}"
    );
    let payload = offered["messagePayload"].as_str().expect("a payload");
    let payload = STANDARD.decode_to_vec(payload).expect("base64");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    let wanted = OFFER.replace("a=ice-options:trickle\r\n", "");
    assert_eq!(payload, json!({"type": "offer", "sdp": wanted}));
    let encoded = |json: Value| STANDARD.encode_to_string(json.to_string());
    camera.send(&answer(
        viewer,
        &encoded(json!({"type": "answer", "sdp": ANSWER})),
    ));
    for candidate in [CANDIDATE, ""] {
        let candidate = json!({"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0});
        camera.send(&candidate_to(viewer, &encoded(candidate)));
    }
    let answered = connection.answer().expect("an answer");
    assert_eq!(answered.status, 201, "{}", answered.text());
    assert_eq!(answered.text(), format!("{ANSWER}a={CANDIDATE}\r\n"));
    answered
}

fn send(service: &Service, method: &str, target: &str, lines: &str) -> Answer {
    let mut connection = Connection::open(service.broker.plain);
    connection.send(&go(service, method, target, lines, ""));
    connection.answer().expect("an answer")
}

/// A request of Go's `net/http`: length, then the program's lines in the order of their names, then its own.
fn go(service: &Service, method: &str, target: &str, lines: &str, body: &str) -> Vec<u8> {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let host = service.broker.plain;
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\n{length}{lines}\
         Accept-Encoding: gzip\r\n\r\n{body}"
    )
    .into_bytes()
}

const TYPE: &str = "Content-Type: application/sdp\r\n";
