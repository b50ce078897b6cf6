//! Session tokens: sealing, opening, and authenticating a whole request; and tokens of OpenID providers.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use benches::harness::{Timer, group, run};
use broker_core::auth::provider::{
    Algorithms, KeySet, KeySource, Provider, TokenFault, Unverified,
};
use broker_core::auth::{
    Authenticator, Credentials, Grant, GrantHolder, NONCE_BYTES, Principal, SessionKeys,
    SignatureRules, Temporary,
};
use broker_core::check::Check;
use codec::http::{Head, HeadLimits};
use codec::policy::Policy;
use codec::sigv4::Service;
use codec::sigv4::signer::{Keys, Signer, Upgrade};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
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
        of_provider(criterion);
    });
}

/// Policies of tokens: none, that of a browser, and those with the maximum length and the maximum number of patterns.
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
    let bytes = read(policy).map_or(0, |policy| policy.bytes().len());
    let grant = grant(policy);
    let mut group = group(criterion, "token/seal", name, 1, bytes);
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            keys.seal(black_box(&NONCE), black_box(&grant), SECRET)
                .is_ok()
        });
    });
    group.finish();
}

fn open(criterion: &mut Timer, name: &str, policy: &str) {
    let (keys, temporary) = (session_keys(), temporary(policy));
    let (id, token) = (&temporary.access_key_id, temporary.session_token.reveal());
    let opened = keys.open(id, token.as_bytes()).expect("it is ours");
    let GrantHolder::Federated { policy: own, .. } = opened.grant.holder else {
        panic!("it is no federated user's");
    };
    assert_eq!(own, read(policy));
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

/// Times the refusal of a token of another key, recognised by its fingerprint, and of a modified token.
fn refuse(criterion: &mut Timer) {
    let (keys, temporary) = (session_keys(), temporary(BROWSER));
    let id = &temporary.access_key_id;
    let own = temporary.session_token.reveal().to_owned();
    let foreign = SessionKeys::new(&[8; 32], None).seal(&NONCE, &grant(BROWSER), SECRET);
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

fn check(criterion: &mut Timer, name: &str, policy: &str) {
    let head = upgrade(&temporary(policy));
    let bytes = head.len();
    let limits = HeadLimits::default();
    let head = Head::parse(head.as_bytes(), &limits).expect("it is a head");
    let mut authenticator = authenticator();
    let mut verify = |now_s| authenticator.check(&head, &[], Service::KinesisVideo, now_s);
    assert!(verify(NOW_S).is_ok_and(|caller| caller.name() == "federated-user/web-1"));
    let late = verify(NOW_S + 300).map(|_| ());
    assert!(late.is_err_and(|refusal| refusal.check == Check::UrlExpired));
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

/// Times the same with [`KEYS`] keys in rotation, so that no cached key is used again.
fn crowd(criterion: &mut Timer) {
    let keys = session_keys();
    let heads = (0..KEYS).map(|number| {
        let mut nonce = NONCE;
        let own = number.to_be_bytes().into_iter();
        nonce.iter_mut().zip(own).for_each(|(to, from)| *to = from);
        upgrade(&keys.seal(&nonce, &grant(""), SECRET).expect("it is sealed"))
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
    let credentials = Credentials::new(vec![parent]);
    Authenticator::new(rules, Arc::new(credentials), Arc::new(session_keys()))
}

fn session_keys() -> SessionKeys {
    SessionKeys::new(&[7; 32], None)
}

fn temporary(policy: &str) -> Temporary {
    let sealed = session_keys().seal(&NONCE, &grant(policy), SECRET);
    sealed.expect("it is sealed")
}

fn read(policy: &str) -> Option<Policy> {
    (!policy.is_empty()).then(|| Policy::parse_session(policy).expect("it is a policy"))
}

fn grant(policy: &str) -> Grant {
    Grant::federated(PARENT, ACCOUNT, "web-1", read(policy), NOW_S + 3600)
}

/// Times the verification of OpenID tokens with each kind of key, and the refusal of an invalid signature.
fn of_provider(criterion: &mut Timer) {
    let (es256, rs256) = (es256(), rs256());
    let forged = format!("{}AAAA", &es256.token[..es256.token.len() - 4]);
    assert_eq!(es256.outcome(&forged), Err(TokenFault::Signature));
    assert_eq!(
        (es256.outcome(&es256.token), rs256.outcome(&rs256.token)),
        (Ok(()), Ok(()))
    );
    for (name, case, token) in [
        ("es256", &es256, &es256.token),
        ("rs256", &rs256, &rs256.token),
        ("forged", &es256, &forged),
    ] {
        let mut group = group(criterion, "token/of-provider", name, 1, token.len());
        group.bench_function("heliograph", |bencher| {
            bencher.iter(|| case.outcome(black_box(token)).is_ok());
        });
        group.finish();
    }
}

struct OfProvider {
    provider: Provider,
    token: String,
}

impl OfProvider {
    fn new(jwk: &Value, header: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let keys = json!({ "keys": [jwk] }).to_string();
        let keys = KeySet::parse(keys.as_bytes()).expect("a set of keys");
        let message = message(header);
        let signature = BASE64URL_NOPAD.encode(&sign(message.as_bytes()));
        Self {
            provider: Provider {
                account: ACCOUNT.into(),
                issuer: "id.example.com/realms/home".into(),
                client_ids: vec!["home-app".into()],
                algorithms: Algorithms::default(),
                keys: KeySource::File(Arc::new(keys)),
                claims: vec!["email".into()],
            },
            token: format!("{message}.{signature}"),
        }
    }

    fn outcome(&self, token: &str) -> Result<(), TokenFault> {
        let KeySource::File(keys) = &self.provider.keys else {
            return Err(TokenFault::NoKeys);
        };
        let token = Unverified::read(token)?;
        self.provider.verify(&token, Some(keys), NOW_S).map(|_| ())
    }
}

fn message(header: &Value) -> String {
    let claims = json!({
        "iss": "https://id.example.com/realms/home", "sub": "8c5ad2c4-2f7a-4a2f-9d32-1f1b1f6a7f11", "aud": "home-app",
        "iat": NOW_S - 10, "exp": NOW_S + 600, "email": "somebody@example.com", "email_verified": true,
        "name": "Some Body", "amr": ["pwd", "otp"], "jti": "1b6a7f11-8c5a-d2c4-2f7a-4a2f9d321f1b",
    });
    let parts = [header, &claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    parts.join(".")
}

fn es256() -> OfProvider {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| BASE64URL_NOPAD.encode(half));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y});
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "1"});
    OfProvider::new(&jwk, &header, |message| {
        let signature = key.sign(&random, message).expect("a signature");
        signature.as_ref().to_vec()
    })
}

fn rs256() -> OfProvider {
    let random = SystemRandom::new();
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
    let [n, e] = [public.n, public.e].map(|part| BASE64URL_NOPAD.encode(&part));
    let jwk = json!({"kty": "RSA", "kid": "1", "n": n, "e": e});
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "1"});
    OfProvider::new(&jwk, &header, |message| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .expect("a signature");
        signature
    })
}

const ACCOUNT: &str = "123456789012";
const PARENT: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW_S: u64 = 1_767_323_055;
const NONCE: [u8; NONCE_BYTES] = [3; NONCE_BYTES];

/// Number of keys, far above the capacity of a shard's cache.
const KEYS: u32 = 100_000;

const BROWSER: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/door/*",
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "web-1"}}}]}"#;
