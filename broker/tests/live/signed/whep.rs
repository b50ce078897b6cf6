//! Players without an SDK: their tokens, and what else their requests may be. See codec/PROTOCOL.md, WHEP.

use crate::http::Answer;
use crate::peer::{Peer, answer, candidate_to};
use crate::process::fresh_directory;
use crate::signed::service::{Service, credentials, principal};
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use std::fs;

const POLICIES: &str = r#"
[policy.players]
document = '''{"Statement": [
    {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*"},
    {"Effect": "Deny", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
     "Condition": {"StringEquals": {"kinesisvideo:ClientId": "leaked"}}}]}'''
"#;

/// A broker with players, ICE servers and the policies of these tests.
fn service(shards: u16) -> Service {
    let file = fresh_directory().join("broker.toml");
    let ice = "[[ice]]\nurls = [\"turn:turn.example:3478?transport=udp\"]\nsecret = [\"north\"]\n";
    fs::write(&file, format!("[whep]\non = true\n{ice}")).expect("written");
    let path = file.to_str().expect("a path in UTF-8");
    let players = principal("player", r#"["players"]"#, "") + POLICIES;
    let service = Service::with(&(credentials() + &players), &["--config", path], shards);
    service.keep(&Signer::new("player").secret);
    service
}

/// The URL of a player, as it is signed.
fn url(service: &Service, signer: &Signer, name: &str, client_id: &str) -> Call {
    let call = Call::new(&service.broker, "GET", &format!("/whep/{name}"));
    signer.presign(call.pair("X-Amz-ClientId", client_id), 31_536_000)
}

/// The request that a player makes of it.
fn post(url: Call) -> Call {
    Call {
        method: "POST",
        body: "v=0\r\nm=video 9\r\n".into(),
        ..url
    }
    .header("Content-Type", "application/sdp")
}

/// The same, with the token in a header.
fn with_bearer(mut call: Call) -> Call {
    let pairs = call.pairs.drain(..).map(|(name, value)| {
        let value = crate::peer::percent_encoded(&value);
        format!("{name}={value}")
    });
    let token = pairs.collect::<Vec<_>>().join("&");
    call.header("Authorization", &format!("Bearer {token}"))
}

fn assert_refused(answer: &Answer, status: u16, kind: &str) {
    answer.assert_common();
    let found = (answer.status, answer.header("x-amzn-errortype"));
    assert_eq!(found, (status, Some(kind)), "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["detail"].is_string(), "{problem}");
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("application/problem+json"));
    assert!(!answer.text().contains("X-Amz-"), "{problem}");
}

/// The camera answers the next offer.
fn answers(master: &mut Peer) {
    let text = master.receive().into_text().expect("a text");
    let offer: serde_json::Value = serde_json::from_str(&text).expect("a message");
    let id = offer["senderClientId"].as_str().expect("an id");
    let of = |value: serde_json::Value| {
        let mut payload = Vec::new();
        codec::base64::encode(&mut payload, value.to_string().as_bytes());
        String::from_utf8(payload).expect("base64")
    };
    let host = json!({"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"});
    let sdp = "v=0\r\nm=video 9\r\na=mid:0\r\n";
    master.send(&candidate_to(id, &of(host)));
    master.send(&answer(id, &of(json!({"type": "answer", "sdp": sdp}))));
}

#[test]
fn a_player_has_its_answer_by_either_form_of_its_token() {
    for shards in [1, 3] {
        let service = service(shards);
        let admin = Signer::new("admin");
        let arn = service.create(&admin, "cam");
        let mut master = service.connect(&admin.presign(Call::master(&service.broker, &arn), 60));
        for signer in [&admin, &Signer::new("player")] {
            let url = url(&service, signer, "cam", "tv");
            for call in [post(url.clone()), with_bearer(post(url.clone()))] {
                let answered = std::thread::scope(|scope| {
                    let camera = scope.spawn(|| answers(&mut master));
                    let answered = service.send(&call);
                    camera.join().expect("the camera");
                    answered
                });
                answered.assert_common();
                assert_eq!(answered.status, 201, "{}", answered.text());
                let sdp = "v=0\r\nm=video 9\r\na=mid:0\r\n\
                           a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
                assert_eq!(answered.text(), sdp);
                let location = answered.header("location").expect("a location");
                assert!(
                    location.starts_with("/whep/cam/") && location.len() == 26,
                    "{location}"
                );
                let link = answered.header("link");
                assert_eq!(link.is_some(), signer.id == admin.id, "{link:?}");
            }
            let options = service.send(&Call {
                method: "OPTIONS",
                ..url
            });
            let found = (options.status, options.header("link").is_some());
            assert_eq!(found, (200, signer.id == admin.id), "{options:?}");
        }
        master.close();
        service.end();
    }
}

#[test]
fn a_token_is_for_its_path_its_client_id_and_its_time_alone() {
    let service = service(2);
    let (admin, player) = (Signer::new("admin"), Signer::new("player"));
    service.create(&admin, "cam");
    service.create(&admin, "door");
    let of = |signer: &Signer, name: &str| url(&service, signer, name, "tv");
    let forbidden = |call: &Call, kind: &str| {
        for call in [call.clone(), with_bearer(call.clone())] {
            assert_refused(&service.send(&call), 403, kind);
        }
    };
    let mismatch = "InvalidSignatureException";
    let elsewhere = Call {
        path: "/whep/door".into(),
        ..post(of(&admin, "cam"))
    };
    forbidden(&elsewhere, mismatch);
    let renamed = post(of(&admin, "cam")).with("X-Amz-ClientId", |_| "other".into());
    forbidden(&renamed, mismatch);
    let past = admin.presign(Call::new(&service.broker, "GET", "/whep/cam"), 60);
    let mut expired = post(admin.ahead(-3600).presign(
        Call {
            pairs: Vec::new(),
            ..past
        },
        60,
    ));
    expired.headers.dedup();
    let refused = service.send(&expired);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("xpired"), "{}", refused.text());
    // Signed as the POST that it is.
    let call = Call {
        method: "POST",
        ..Call::new(&service.broker, "GET", "/whep/cam")
    };
    forbidden(&post(admin.presign(call, 60)), mismatch);
    // Without a token, also beside one that names a session alone.
    let none = post(Call::new(&service.broker, "GET", "/whep/cam"));
    assert_refused(
        &service.send(&none),
        403,
        "MissingAuthenticationTokenException",
    );
    // Rights come before existence, and accounts do not see each other.
    let leaked = post(url(&service, &player, "cam", "leaked"));
    forbidden(&leaked, "AccessDeniedException");
    forbidden(
        &post(of(&Signer::new("nobody"), "none")),
        "AccessDeniedException",
    );
    for call in [of(&player, "none"), of(&Signer::new("neighbour"), "cam")] {
        assert_refused(&service.send(&post(call)), 404, "ResourceNotFoundException");
    }
    service.end();
}

#[test]
fn a_token_opens_no_websocket_and_the_reverse() {
    let service = service(1);
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "cam");
    let handshake = Call::viewer(&service.broker, &arn, "tv");
    // The URL of a player as that of a WebSocket.
    let mut token = admin.presign(
        Call::new(&service.broker, "GET", "/whep/cam")
            .pair("X-Amz-ChannelARN", &arn)
            .pair("X-Amz-ClientId", "tv"),
        60,
    );
    token.headers.extend(handshake.headers.clone());
    let refused = service.send(&token);
    assert_eq!(refused.status, 403, "{}", refused.text());
    // The URL of a WebSocket as that of a player.
    let url = admin.presign(handshake, 60);
    let player = Call {
        method: "POST",
        path: "/whep/cam".into(),
        headers: Vec::new(),
        body: "m=\r\n".into(),
        ..url
    };
    let player = player.header("Content-Type", "application/sdp");
    assert_refused(&service.send(&player), 403, "InvalidSignatureException");
    assert_refused(
        &service.send(&with_bearer(player)),
        403,
        "InvalidSignatureException",
    );
    service.end();
}
