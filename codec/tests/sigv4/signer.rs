//! The signer's output: for the recorded requests the signatures of other signers, and for any request a signature that
//! the verifier accepts.

use super::support::{Call as Parts, ID, NOON, REGION, SECRET, Shard, Signer as Clock};
use super::vectors::{accepted, document, key_of, limits, parameter, request, text};
use codec::http::{Head, HeadLimits, decode};
use codec::sigv4::signer::{Call, JSON, Keys, Player, Signer, Upgrade};
use codec::sigv4::{EXPIRES_S_MAX, Form, Malformed, PLAYER_EXPIRES_S_MAX, Refusal, Service, Stamp};
use proptest::prelude::*;
use serde_json::Value;

/// Every recorded request of the two kinds that the signer makes.
#[test]
fn signatures_are_those_of_other_signers() {
    let document = document();
    let (mut urls, mut calls) = (0, 0);
    for vector in accepted(&document) {
        let (head, body) = request(vector);
        let head = Head::parse(head.as_bytes(), &limits()).unwrap();
        if text(&vector["expect"]["matched_form"]) == "strict" && head.path() == "/" {
            let target = presigned(vector, &head);
            let signature = format!("&X-Amz-Signature={}", text(&vector["signature"]));
            assert!(target.ends_with(&signature), "{} {target}", vector["id"]);
            urls += 1;
        } else if is_plain_call(vector) {
            let authorization = authorization(vector, &head, &body);
            let signature = format!("Signature={}", text(&vector["signature"]));
            let fine = authorization.ends_with(&signature);
            assert!(fine, "{} {authorization}", vector["id"]);
            calls += 1;
        }
    }
    assert_eq!((urls, calls), (URLS, CALLS));
}

/// The key is derived once a day, and the day's key is not that of the next.
#[test]
fn each_day_has_its_key() {
    let call = |now_s| Call {
        host: "localhost",
        path: "/listSignalingChannels",
        body: "{}",
        now_s,
    };
    let fresh = |now_s| Signer::new(keys(None), REGION).sign(&call(now_s));
    let mut kept = Signer::new(keys(None), REGION);
    for now_s in [0, 86_399, 86_400, 0, 86_400] {
        assert_eq!(kept.sign(&call(now_s)), fresh(now_s), "{now_s}");
    }
}

#[test]
fn presigning_allocates_its_result_alone() {
    let token = "t+/=".repeat(300);
    for session_token in [None, Some(token.as_str())] {
        let mut signer = Signer::new(keys(session_token), REGION);
        let upgrade = Upgrade {
            host: "v-0a1b2c3d.kinesisvideo.us-west-2.amazonaws.com:8443",
            channel_arn: "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000123",
            client_id: Some("viewer-1000000"),
            expires_s: 604_800,
            now_s: 1_767_323_045,
        };
        let first = signer.presign(&upgrade);
        let counted = allocation_counter::measure(|| assert_eq!(signer.presign(&upgrade), first));
        assert_eq!(counted.count_total, 1, "{counted:?}");
    }
}

/// The query of a URL that was presigned for GET, whichever method and body the request has and wherever it carries it.
#[test]
fn a_players_token_signs_get_and_no_body() {
    let signer = Clock::default();
    let year = u64::from(PLAYER_EXPIRES_S_MAX);
    let signed = |expires_s| {
        let call = Parts::new("GET", "/whep/cam-1", "").pair("X-Amz-ClientId", "wall-1");
        signer.presign(call, expires_s)
    };
    let token = signed(year).query().split_off(1);
    let mut shard = Shard::new();
    let mut verify = |method: &str, path: &str, token: &str, now_s| {
        let host = signed(1).host;
        let head = format!("{method} {path}?X-Amz-Date=x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = Head::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
        let rules = signer.rules_at(now_s);
        let claim = shard.verifier.read_token(&head, token, &rules)?;
        let verified = claim.verify(Some(&signer.key()), b"", &mut shard.keys)?;
        Ok(verified.form)
    };
    for method in ["POST", "OPTIONS", "GET"] {
        let found = verify(method, "/whep/cam-1", &token, NOON + year);
        assert_eq!(found, Ok(Form::Strict));
    }
    let found = verify("POST", "/whep/cam-2", &token, NOON);
    assert_eq!(found, Err(Refusal::Mismatch));
    let other = token.replace("wall-1", "wall-2");
    let found = verify("POST", "/whep/cam-1", &other, NOON);
    assert_eq!(found, Err(Refusal::Mismatch));
    let late = verify("POST", "/whep/cam-1", &token, NOON + year + 1);
    assert!(matches!(late, Err(Refusal::Expired { .. })), "{late:?}");
    let longer = signed(year + 1).query().split_off(1);
    let malformed = Err(Refusal::Malformed(Malformed::Expires(PLAYER_EXPIRES_S_MAX)));
    assert_eq!(verify("POST", "/whep/cam-1", &longer, NOON), malformed);
    let found = verify("POST", "/whep/cam-1", "FwoGZXIvYXdzEBYaD", NOON);
    assert_eq!(found, Err(Refusal::Missing));
    // Elsewhere such a URL lives too long.
    let call = signed(year);
    let rules = signer.rules();
    let malformed = Err(Refusal::Malformed(Malformed::Expires(EXPIRES_S_MAX)));
    let found = shard.verify(&call.head(), b"", &rules, Some(&signer.key()));
    assert_eq!(found, malformed);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_signed_verifies(
        host in "[a-z][a-z0-9-]{0,18}(\\.[a-z]{2,5})?(:8[0-9]{3})?",
        arn in any::<String>(),
        client_id in proptest::option::of(any::<String>()),
        token in proptest::option::of("[A-Za-z0-9+/=]{1,300}"),
        path in "(/[A-Za-z0-9._~%-]{1,9}){1,3}",
        body in any::<String>(),
        expires_s in 1u32..=604_800,
        now_s in 0u64..4_000_000_000,
    ) {
        let clock = Clock { token, service: Service::KinesisVideo, time: now_s, announces_hash: false };
        let mut shard = Shard::new();
        let mut verify = |head: &str, body: &str| {
            shard.verify(head, body.as_bytes(), &clock.rules(), Some(&clock.key()))
        };
        let mut signer = Signer::new(keys(clock.token.as_deref()), REGION);

        let upgrade = Upgrade { host: &host, channel_arn: &arn, client_id: client_id.as_deref(), expires_s, now_s };
        let target = signer.presign(&upgrade);
        let head = |host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        prop_assert_eq!(verify(&head(&host), ""), Ok(Form::Strict), "{}", target);
        prop_assert!(verify(&head("elsewhere"), "").is_err());

        let player = Player { host: &host, channel: "cam.1_-", client_id: "wall", expires_s, now_s };
        let target = signer.presign_player(&player);
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        prop_assert_eq!(verify(&head, ""), Ok(Form::Strict), "{}", target);

        let signed = signer.sign(&Call { host: &host, path: &path, body: &body, now_s });
        let lines: String = signed.lines().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\n{lines}\r\n");
        prop_assert_eq!(verify(&head, &body), Ok(Form::Header), "{}", head);
        let longer = [&body, " "].concat();
        prop_assert!(verify(&head, &longer).is_err());
    }
}

/// Path and query as the signer writes them for the values of a recorded URL.
fn presigned(vector: &Value, head: &Head<'_>) -> String {
    let value = |name: &str| parameter(head, name).map(|value| decode(value).unwrap());
    let (arn, client_id) = (value("X-Amz-ChannelARN").unwrap(), value("X-Amz-ClientId"));
    let upgrade = Upgrade {
        host: head.header("host").unwrap(),
        channel_arn: &arn,
        client_id: client_id.as_deref(),
        expires_s: value("X-Amz-Expires").unwrap().parse().unwrap(),
        now_s: signed_s(vector),
    };
    let credential = value("X-Amz-Credential").unwrap();
    let token = value("X-Amz-Security-Token");
    signer(&credential, token.as_deref()).presign(&upgrade)
}

/// The `Authorization` that the signer writes for a recorded call.
fn authorization(vector: &Value, head: &Head<'_>, body: &str) -> String {
    let call = Call {
        host: head.header("host").unwrap(),
        path: head.path(),
        body,
        now_s: signed_s(vector),
    };
    let credential = head.header("authorization").unwrap();
    let credential = credential.split("Credential=").nth(1).unwrap();
    let credential = credential.split(',').next().unwrap();
    let token = key_of(vector).session_token;
    let signed = signer(credential, token).sign(&call);
    let (name, value) = signed.lines().next().unwrap();
    assert_eq!(name, "Authorization");
    value.to_owned()
}

/// Whether a call signs what the signer signs, and no more.
fn is_plain_call(vector: &Value) -> bool {
    let canonical = text(&vector["canonical_request"]);
    let names = canonical.lines().rev().nth(1).unwrap();
    let is_plain = names == "content-type;host;x-amz-date"
        || names == "content-type;host;x-amz-date;x-amz-security-token";
    is_plain && canonical.contains(&format!("\ncontent-type:{JSON}\n"))
}

/// A signer for the key id and the region of a credential.
fn signer<'a>(credential: &'a str, session_token: Option<&'a str>) -> Signer<'a> {
    let mut parts = credential.split('/');
    let access_key_id = parts.next().unwrap();
    let keys = Keys {
        access_key_id,
        ..keys(session_token)
    };
    Signer::new(keys, parts.nth(1).unwrap())
}

fn keys(session_token: Option<&str>) -> Keys<'_> {
    Keys {
        access_key_id: ID,
        secret_access_key: SECRET,
        session_token,
    }
}

fn signed_s(vector: &Value) -> u64 {
    let time = text(&vector["string_to_sign"]).lines().nth(1).unwrap();
    u64::try_from(Stamp::parse(time.as_bytes()).unwrap().epoch()).unwrap()
}

/// The recorded requests of the two kinds.
const URLS: usize = 23;
const CALLS: usize = 15;
