//! Session tokens: sealed for a browser, opened by whichever shard it comes to, and a whole request by one.

use benches::harness::{Timer, group, run};
use broker_core::auth::{
    Authenticator, Credentials, Grant, NONCE_BYTES, Principal, SessionKeys, SignatureRules,
    Temporary,
};
use broker_core::check::Check;
use codec::http::{Head, HeadLimits};
use codec::policy::Policy;
use codec::sigv4::Service;
use codec::sigv4::signer::{Keys, Signer, Upgrade};
use std::hint::black_box;
use std::sync::Arc;

fn main() {
    run(|criterion| {
        for (name, policy) in policies() {
            seal(criterion, name, &policy);
            open(criterion, name, &policy);
            check(criterion, name, &policy);
        }
        refuse(criterion);
        crowd(criterion);
    });
}

/// No rights, those of a browser, and as many words and patterns as may be.
fn policies() -> [(&'static str, String); 4] {
    let longest = format!(
        "{BROWSER}{}",
        " ".repeat(codec::sts::POLICY_CHARS_MAX - BROWSER.len())
    );
    let patterns = BROWSER.replace(
        r#""Resource": "#,
        &format!(r#""Resource": [{}"#, r#""arn:*","#.repeat(190)),
    );
    let patterns = patterns.replace("door/*\"", "door/*\"]");
    [
        ("no-policy", String::new()),
        ("browser", BROWSER.to_owned()),
        ("longest-2048B", longest),
        ("patterns-190", patterns),
    ]
}

fn seal(criterion: &mut Timer, name: &str, policy: &str) {
    let keys = session_keys();
    let policy = read(policy);
    let bytes = policy.as_ref().map_or(0, |policy| policy.bytes().len());
    let mut group = group(criterion, "token/seal", name, 1, bytes);
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            keys.seal(black_box(&NONCE), &grant(policy.as_ref()))
                .is_ok()
        });
    });
    group.finish();
}

fn open(criterion: &mut Timer, name: &str, policy: &str) {
    let (keys, temporary) = (session_keys(), temporary(policy));
    let (id, token) = (&temporary.access_key_id, temporary.session_token.reveal());
    let opened = keys.open(id, token.as_bytes()).expect("it is ours");
    assert_eq!(opened.policy(), read(policy).as_ref());
    time_open(criterion, name, &keys, id, token);
}

fn time_open(criterion: &mut Timer, name: &str, keys: &SessionKeys, id: &str, token: &str) {
    let mut group = group(criterion, "token/open", name, 1, token.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            keys.open(black_box(id), black_box(token.as_bytes()))
                .is_some()
        });
    });
    group.finish();
}

/// A token of another key, which is known by its fingerprint, and one of ours with a bit changed, which is not.
fn refuse(criterion: &mut Timer) {
    let (keys, temporary) = (session_keys(), temporary(BROWSER));
    let id = &temporary.access_key_id;
    let own = temporary.session_token.reveal().to_owned();
    let policy = read(BROWSER);
    let foreign = SessionKeys::new(&[8; 32], None).seal(&NONCE, &grant(policy.as_ref()));
    let foreign = foreign.expect("it is sealed");
    let foreign_token = foreign.session_token.reveal().to_owned();
    let last = own.trim_end_matches('=').len() - 2;
    let other = if own[last..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    let changed = format!("{}{other}{}", &own[..last], &own[last + 1..]);
    for (name, id, token) in [
        ("foreign", &foreign.access_key_id, foreign_token),
        ("changed", id, changed),
    ] {
        assert!(keys.open(id, token.as_bytes()).is_none(), "{name}");
        time_open(criterion, name, &keys, id, &token);
    }
}

/// An upgrade with such a token: opened, its policy read, its key derived or found, its signature checked.
fn check(criterion: &mut Timer, name: &str, policy: &str) {
    let head = upgrade(&temporary(policy));
    let bytes = head.len();
    let limits = HeadLimits::default();
    let head = Head::parse(head.as_bytes(), &limits).expect("it is a head");
    let mut authenticator = authenticator();
    let mut verify = |now_s| authenticator.check(&head, &[], Service::KinesisVideo, now_s);
    assert!(verify(NOW_S).is_ok_and(|caller| caller.name() == "federated-user/web-1"));
    let late = verify(NOW_S + 300).map(|_| ());
    assert!(late.is_err_and(|refusal| refusal.check == Check::SignatureExpired));
    let mut group = group(criterion, "token/check", name, 1, bytes);
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            authenticator
                .check(black_box(&head), &[], Service::KinesisVideo, NOW_S)
                .is_ok()
        });
    });
    group.finish();
}

/// The same by [`KEYS`] in turn: none is found again before all the others have come.
fn crowd(criterion: &mut Timer) {
    let keys = session_keys();
    let heads = (0..KEYS).map(|number| {
        let mut nonce = NONCE;
        let own = number.to_be_bytes().into_iter();
        nonce.iter_mut().zip(own).for_each(|(to, from)| *to = from);
        upgrade(&keys.seal(&nonce, &grant(None)).expect("it is sealed"))
    });
    let heads: Vec<_> = heads.collect();
    let limits = HeadLimits::default();
    let mut authenticator = authenticator();
    let mut verify = |head: &String| {
        let head = Head::parse(head.as_bytes(), &limits).expect("it is a head");
        let caller = authenticator.check(&head, &[], Service::KinesisVideo, NOW_S);
        caller.is_ok()
    };
    assert!(heads.iter().all(&mut verify));
    let bytes = heads.first().map_or(0, String::len);
    let mut group = group(criterion, "token/check", "100000-keys", 1, bytes);
    let mut in_turn = heads.iter().cycle();
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| in_turn.next().is_some_and(&mut verify));
    });
    group.finish();
}

/// The request of a viewer by this key.
fn upgrade(temporary: &Temporary) -> String {
    let keys = Keys {
        access_key_id: &temporary.access_key_id,
        secret_access_key: temporary.secret_access_key.reveal(),
        session_token: Some(temporary.session_token.reveal()),
    };
    let upgrade = Upgrade {
        host: "localhost",
        channel_arn: "arn:aws:kinesisvideo:us-west-2:123456789012:channel/door/1700000000000",
        client_id: Some("web-1"),
        expires_s: 299,
        now_s: NOW_S,
    };
    let target = Signer::new(keys, "us-west-2").presign(&upgrade);
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn authenticator() -> Authenticator {
    let rules = SignatureRules {
        region: Some("us-west-2".into()),
        clock_tolerance_s: 300,
        strict: false,
    };
    let parent = Principal {
        name: "back-end".into(),
        account: ACCOUNT.into(),
        access_key_id: PARENT.into(),
        secret: SECRET.into(),
        session_token: None,
        expires_s: None,
        clock_tolerance_s: None,
        policies: Vec::new(),
    };
    let credentials = Credentials::new(vec![parent]).expect("one principal");
    Authenticator::new(rules, Arc::new(credentials), Arc::new(session_keys()))
}

fn session_keys() -> SessionKeys {
    SessionKeys::new(&[7; 32], None)
}

fn temporary(policy: &str) -> Temporary {
    let sealed = session_keys().seal(&NONCE, &grant(read(policy).as_ref()));
    sealed.expect("it is sealed")
}

fn read(policy: &str) -> Option<Policy> {
    (!policy.is_empty()).then(|| Policy::parse_session(policy).expect("it is a policy"))
}

fn grant(policy: Option<&Policy>) -> Grant<'_> {
    Grant {
        account: ACCOUNT,
        parent_access_key_id: PARENT,
        parent_secret: SECRET,
        name: "web-1",
        policy,
        expires_s: NOW_S + 3600,
    }
}

const ACCOUNT: &str = "123456789012";
const PARENT: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW_S: u64 = 1_767_323_055;
const NONCE: [u8; NONCE_BYTES] = [3; NONCE_BYTES];

/// Far more than a shard keeps of.
const KEYS: u32 = 100_000;

const BROWSER: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/door/*",
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "web-1"}}}]}"#;
