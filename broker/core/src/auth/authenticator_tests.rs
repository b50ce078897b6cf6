use super::{Grant, PolicyQuestion, Secret, Temporary, *};
use crate::refusal::{ErrorCode, Refusal as Refused};
use aws_lc_rs::digest::{SHA256, digest};
use codec::http::HeadLimits;
use codec::policy::{Action, Policy};
use codec::sigv4::signer::{Keys, Player, Signer, Upgrade};
use codec::sigv4::{Refusal, SigningKey, Stamp};
use data_encoding::HEXLOWER;

const NOW: u64 = 1_800_000_000;
const REGION: &str = "us-west-2";
const ARN: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";
const ALLOW_ALL: &str = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;

fn principal(id: &str) -> Principal {
    Principal {
        name: format!("name-{id}"),
        access_key_id: id.into(),
        secret: format!("secret-of-{id}").into(),
        ..fixtures::principal("", &[ALLOW_ALL])
    }
}

fn authenticator(principals: Vec<Principal>) -> Authenticator {
    let rules = SignatureRules {
        region: Some(REGION.into()),
        clock_tolerance_s: 300,
        strict: false,
    };
    let credentials = Arc::new(Credentials::new(principals));
    Authenticator::new(rules, credentials, Arc::new(session_keys()))
}

fn session_keys() -> SessionKeys {
    SessionKeys::new(&[7; 32], None)
}

/// A request head, signed in the header at `signed_s`.
struct Signed<'a> {
    id: &'a str,
    secret: &'a str,
    token: Option<&'a str>,
    region: &'a str,
    service: &'a str,
    signed_s: u64,
}

impl Signed<'static> {
    fn of(id: &'static str, secret: &'static str) -> Self {
        Self {
            id,
            secret,
            token: None,
            region: REGION,
            service: "kinesisvideo",
            signed_s: NOW,
        }
    }
}

impl Signed<'_> {
    fn head(&self, body: &[u8]) -> String {
        let moment = Stamp::from_epoch(self.signed_s).to_string();
        let (day, host) = (&moment[..8], "localhost");
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hash = |bytes: &[u8]| HEXLOWER.encode(digest(&SHA256, bytes).as_ref());
        let canonical = format!(
            "POST\n/x\n\nhost:{host}\nx-amz-date:{moment}\n\nhost;x-amz-date\n{}",
            hash(body)
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
            hash(canonical.as_bytes())
        );
        let key = SigningKey::derive(self.secret, day, self.region, self.service);
        let signature = HEXLOWER.encode(&key.sign(text.as_bytes()));
        let token = self
            .token
            .map(|token| format!("X-Amz-Security-Token: {token}\r\n"));
        format!(
            "POST /x HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {moment}\r\n{}Authorization: AWS4-HMAC-SHA256 \
             Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}\r\n\r\n",
            token.unwrap_or_default(),
            self.id
        )
    }

    fn check(&self, authenticator: &mut Authenticator) -> Result<Caller, Refused> {
        kvs(authenticator, &self.head(b"body"), b"body", NOW)
    }
}

fn check(
    authenticator: &mut Authenticator,
    text: &str,
    body: &[u8],
    service: Service,
    now_s: u64,
) -> Result<Caller, Refused> {
    let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
    let checked = authenticator.check(&head, body, service, now_s);
    if checked.is_ok() {
        authenticator.precheck(&head, service, now_s).unwrap();
    }
    checked
}

fn kvs(
    authenticator: &mut Authenticator,
    text: &str,
    body: &[u8],
    now_s: u64,
) -> Result<Caller, Refused> {
    check(authenticator, text, body, Service::KinesisVideo, now_s)
}

/// Returns credentials for `browser`, a federated user of a principal.
fn browser(parent: &str, policy: Option<&str>) -> Temporary {
    let policy = policy.map(|text| Policy::parse_session(text).unwrap());
    let grant = Grant::federated(parent, "123456789012", "browser", policy, NOW + 60);
    let secret = format!("secret-of-{parent}");
    session_keys().seal(&[1; 32], &grant, &secret).unwrap()
}

fn keys_of(temporary: &Temporary) -> Keys<'_> {
    Keys {
        access_key_id: &temporary.access_key_id,
        secret_access_key: temporary.secret_access_key.reveal(),
        session_token: Some(temporary.session_token.reveal()),
    }
}

/// Presigns an upgrade request with temporary credentials.
fn upgrade(temporary: &Temporary, now_s: u64) -> String {
    let upgrade = Upgrade {
        host: "localhost",
        channel_arn: ARN,
        client_id: Some("v1"),
        expires_s: 299,
        now_s,
    };
    let keys = keys_of(temporary);
    let target = Signer::new(keys, REGION).presign(&upgrade);
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn refusal(result: Result<Caller, Refused>) -> Refusal {
    let refused = unsigned(result);
    let ErrorCode::Signature(refusal) = refused.error else {
        panic!("{refused:?}");
    };
    refusal
}

fn unsigned_as(refusal: Refusal, check: Check) -> Refused {
    Refused {
        check,
        ..refusal.into()
    }
}

#[test]
fn what_was_compared_is_that_of_the_last_request() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    let compared = |authenticator: &Authenticator| {
        let (canonical, string) = authenticator.compared();
        (canonical.to_vec(), string.to_vec())
    };
    let wrong = Signed::of("AKIDA", "another").check(&mut authenticator);
    assert_eq!(refusal(wrong), Refusal::Mismatch);
    let (canonical, string) = compared(&authenticator);
    assert!(canonical.starts_with(b"POST\n/x\n") && string.starts_with(b"AWS4-HMAC-SHA256\n"));
    let unsigned = "POST /y HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let missing = kvs(&mut authenticator, unsigned, b"", NOW);
    assert_eq!(refusal(missing), Refusal::Missing);
    assert_eq!(compared(&authenticator), (Vec::new(), Vec::new()));
}

#[test]
fn a_token_of_another_issuer_is_not_an_unknown_key() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    let others = SessionKeys::new(&[9; 32], None);
    let grant = Grant::federated("AKIDA", "123456789012", "browser", None, NOW + 60);
    let temporary = others.seal(&[1; 32], &grant, "secret-of-AKIDA").unwrap();
    let text = upgrade(&temporary, NOW);
    let refused = kvs(&mut authenticator, &text, b"", NOW);
    let unsealed = unsigned_as(Refusal::UnknownKey, Check::TokenUnsealed);
    assert_eq!(unsigned(refused), unsealed);
}

fn unsigned(result: Result<Caller, Refused>) -> Refused {
    result.map(|caller| caller.arn()).unwrap_err()
}

#[test]
fn a_principal_is_found_by_its_signature() {
    let mut authenticator = authenticator(vec![principal("AKIDA"), principal("AKIDB")]);
    let caller = Signed::of("AKIDB", "secret-of-AKIDB")
        .check(&mut authenticator)
        .unwrap();
    assert_eq!(caller.arn(), "arn:aws:iam::123456789012:user/name-AKIDB");
    let found = (caller.name(), caller.account());
    assert_eq!(found, ("name-AKIDB", "123456789012"));
    assert!(may(&caller, Action::ConnectAsMaster, ARN, None));
    let text = Signed::of("AKIDA", "secret-of-AKIDA").head(b"body");
    let other_body = kvs(&mut authenticator, &text, b"other", NOW);
    assert_eq!(refusal(other_body), Refusal::Mismatch);
}

#[test]
fn wrong_secrets_and_unknown_keys_have_different_errors() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    let wrong = Signed::of("AKIDA", "another").check(&mut authenticator);
    assert_eq!(refusal(wrong), Refusal::Mismatch);
    let unknown = Signed::of("AKIDX", "another").check(&mut authenticator);
    let found = unsigned(unknown);
    assert_eq!(found, unsigned_as(Refusal::UnknownKey, Check::UnknownKey));
}

#[test]
fn fixed_tokens_and_ends_of_principals_hold() {
    let fixed = Principal {
        session_token: Some(Secret::from("token")),
        expires_s: Some(NOW + 1),
        ..principal("AKIDA")
    };
    let mut authenticator = authenticator(vec![fixed]);
    let mut signer = Signed::of("AKIDA", "secret-of-AKIDA");
    assert_eq!(refusal(signer.check(&mut authenticator)), Refusal::Token);
    signer.token = Some("token");
    assert!(signer.check(&mut authenticator).is_ok());
    let text = signer.head(b"");
    let late = kvs(&mut authenticator, &text, b"", NOW + 1);
    let expired = unsigned_as(Refusal::TokenExpired, Check::KeyExpired);
    assert_eq!(unsigned(late), expired, "a key of a principal, not a token");
}

#[test]
fn temporary_credentials_need_no_stored_state() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    let policy = r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
        "Condition": {"StringEquals": {"kinesisvideo:ClientId": "v1"}}}}"#;
    let temporary = browser("AKIDA", Some(policy));
    let text = upgrade(&temporary, NOW);
    let caller = kvs(&mut authenticator, &text, b"", NOW).unwrap();
    let found = caller.arn();
    assert_eq!(found, "arn:aws:sts::123456789012:federated-user/browser");
    assert_eq!(caller.user_id(), "123456789012:browser");
    let root = caller.root();
    assert!(matches!(root, Some(Root::Principal(parent)) if parent.access_key_id == "AKIDA"));
    assert_eq!(caller.expires_s(), Some(NOW + 60));
    assert!(may(&caller, Action::ConnectAsViewer, ARN, Some("v1")));
    assert!(!may(&caller, Action::ConnectAsViewer, ARN, Some("v2")));
    assert!(!may(&caller, Action::ConnectAsMaster, ARN, None));

    let last = kvs(&mut authenticator, &text, b"", NOW + 59);
    assert!(last.is_ok());
    let late = kvs(&mut authenticator, &text, b"", NOW + 60);
    assert_eq!(refusal(late), Refusal::TokenExpired);
    let forged = Temporary {
        secret_access_key: "another".into(),
        ..temporary
    };
    let forged = kvs(&mut authenticator, &upgrade(&forged, NOW), b"", NOW);
    assert_eq!(refusal(forged), Refusal::Mismatch);
}

#[test]
fn a_token_is_worth_no_more_than_its_parent() {
    let ending = Principal {
        expires_s: Some(NOW + 10),
        ..principal("AKIDA")
    };
    let other_account = Principal {
        account: "210987654321".into(),
        ..principal("AKIDB")
    };
    let mut authenticator = authenticator(vec![ending, other_account]);
    let mut ask = |parent, now_s| {
        let text = upgrade(&browser(parent, None), NOW);
        kvs(&mut authenticator, &text, b"", now_s)
    };
    assert!(ask("AKIDA", NOW + 9).is_ok());
    let expired = unsigned_as(Refusal::TokenExpired, Check::TokenExpired);
    assert_eq!(unsigned(ask("AKIDA", NOW + 10)), expired);
    let orphaned = unsigned_as(Refusal::UnknownKey, Check::TokenOrphaned);
    assert_eq!(unsigned(ask("AKIDB", NOW)), orphaned);
    assert_eq!(unsigned(ask("AKIDGONE", NOW)), orphaned);
    let old = authenticator.replace_credentials(Arc::new(Credentials::default()));
    assert_eq!(old.len(), 2);
    let gone = kvs(
        &mut authenticator,
        &upgrade(&browser("AKIDA", None), NOW),
        b"",
        NOW,
    );
    assert_eq!(refusal(gone), Refusal::UnknownKey);
}

#[test]
fn a_token_ends_with_the_secret_of_its_parent() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    let text = upgrade(&browser("AKIDA", None), NOW);
    let mut with = |principal: Principal| {
        let credentials = Credentials::new(vec![principal]);
        authenticator.replace_credentials(Arc::new(credentials));
        kvs(&mut authenticator, &text, b"", NOW)
    };
    assert!(with(principal("AKIDA")).is_ok());
    let rotated = Principal {
        secret: "another".into(),
        ..principal("AKIDA")
    };
    assert_eq!(refusal(with(rotated)), Refusal::UnknownKey);
    let renamed = Principal {
        access_key_id: "AKIDB".into(),
        ..principal("AKIDA")
    };
    assert_eq!(refusal(with(renamed)), Refusal::UnknownKey);
    // Fields other than the secret are irrelevant.
    let fewer = Principal {
        policies: Vec::new(),
        ..principal("AKIDA")
    };
    assert!(with(fewer).is_ok());
}

#[test]
fn no_policy_is_no_rights_and_federation_ends_there() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    for (policy, may_connect) in [(None, false), (Some(ALLOW_ALL), true)] {
        let text = upgrade(&browser("AKIDA", policy), NOW);
        let caller = kvs(&mut authenticator, &text, b"", NOW).unwrap();
        let found = may(&caller, Action::ConnectAsMaster, ARN, None);
        assert_eq!(found, may_connect);
        assert!(may(&caller, Action::GetCallerIdentity, "*", None));
        assert!(!may(&caller, Action::GetFederationToken, "*", None));
    }
}

#[test]
fn a_clock_may_be_off_as_far_as_the_key_says_unless_strict() {
    let slow = Principal {
        clock_tolerance_s: Some(3600),
        ..principal("AKIDA")
    };
    let mut authenticator = authenticator(vec![slow, principal("AKIDB")]);
    let late = |id, secret| Signed {
        signed_s: NOW - 3600,
        ..Signed::of(id, secret)
    };
    let lenient = late("AKIDA", "secret-of-AKIDA");
    assert!(lenient.check(&mut authenticator).is_ok());
    let other = late("AKIDB", "secret-of-AKIDB").check(&mut authenticator);
    assert!(matches!(refusal(other), Refusal::Expired { .. }));
    authenticator.rules.strict = true;
    let strict = lenient.check(&mut authenticator);
    assert!(matches!(refusal(strict), Refusal::Expired { .. }));
}

#[test]
fn an_empty_token_counts_as_none_unless_strict() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    let empty = Signed {
        token: Some(""),
        ..Signed::of("AKIDA", "secret-of-AKIDA")
    };
    assert!(empty.check(&mut authenticator).is_ok());
    authenticator.rules.strict = true;
    let unsigned = empty.check(&mut authenticator);
    let unsigned = unsigned.unwrap_err();
    assert_eq!(unsigned, Refusal::Token.into());
}

#[test]
fn scopes_are_of_this_region_and_sts_may_be_global() {
    let mut authenticator = authenticator(vec![principal("AKIDA")]);
    for (region, service, checked, right) in [
        (REGION, "kinesisvideo", Service::KinesisVideo, true),
        ("us-east-1", "kinesisvideo", Service::KinesisVideo, false),
        (REGION, "sts", Service::KinesisVideo, false),
        (REGION, "sts", Service::Sts, true),
        ("us-east-1", "sts", Service::Sts, true),
        ("eu-west-1", "sts", Service::Sts, false),
    ] {
        let signer = Signed {
            region,
            service,
            ..Signed::of("AKIDA", "secret-of-AKIDA")
        };
        let result = check(
            &mut authenticator,
            &signer.head(b"body"),
            b"body",
            checked,
            NOW,
        );
        assert_eq!(result.is_ok(), right, "{region} {service}");
        if let Err(refusal) = result {
            let of_scope = matches!(refusal.error, ErrorCode::Signature(Refusal::Scope(_)));
            assert!(of_scope, "{refusal:?}");
            let text = signer.head(b"");
            let found = authenticator.precheck(&head(&text), checked, NOW);
            assert_eq!(found, Err(refusal));
        }
    }
}

#[test]
fn debug_shows_no_secret() {
    let authenticator = authenticator(vec![principal("AKIDA")]);
    let shown = format!("{authenticator:?} {:?}", authenticator.credentials);
    assert!(!shown.contains("secret-of"), "{shown}");
}

fn may(caller: &Caller, action: Action, resource: &str, client_id: Option<&str>) -> bool {
    let question = PolicyQuestion {
        client_id,
        ..PolicyQuestion::new(action, resource)
    };
    caller.decide(&question).denied.is_none()
}

// The following tests cover the tokens of players.

const KEYS: Keys<'static> = Keys {
    access_key_id: "AKID",
    secret_access_key: "secret-of-AKID",
    session_token: None,
};

/// Presigns a player's URL at `NOW` with these keys and returns its target.
fn player_url(keys: Keys<'_>, expires_s: u32) -> String {
    let player = Player {
        host: "h",
        channel: "demo",
        client_id: "wall-1",
        expires_s,
        now_s: NOW,
    };
    Signer::new(keys, REGION).presign_player(&player)
}

fn head(text: &str) -> Head<'_> {
    Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap()
}

/// Returns the check that refuses a player's request with these header lines, or `None` if the request is accepted.
fn refused(lines: &str, now_s: u64) -> Option<Check> {
    let mut authenticator = authenticator(vec![principal("AKID"), principal("BKID")]);
    let text = format!("{lines}\r\nHost: h\r\n\r\n");
    let checked = authenticator.check_whep(&head(&text), now_s);
    checked.err().map(|refusal| refusal.check)
}

#[test]
fn a_players_token_is_a_query_or_a_bearer_for_posts_and_options() {
    let url = player_url(KEYS, 31_536_000);
    let (path, query) = url.split_once('?').unwrap();
    let other = url.replace("AKID", "BKID");
    let bearer =
        |method, path, token| format!("{method} {path} HTTP/1.1\r\nAuthorization: Bearer {token}");
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (format!("POST {url} HTTP/1.1"), None),
        (format!("OPTIONS {url} HTTP/1.1\r\nContent-Length: 9"), None),
        (bearer("POST", path, query), None),
        (bearer("OPTIONS", &other, query), None),
        (bearer("POST", &url, other.split_once('?').unwrap().1), Some(Check::SignatureMismatch)),
        (bearer("POST", path, "FwoGZXIvYXdzEBYaD"), Some(Check::SignatureMissing)),
        (format!("POST {path} HTTP/1.1"), Some(Check::SignatureMissing)),
        (format!("POST {path} HTTP/1.1\r\nAuthorization: Basic eDp5"), Some(Check::SignatureMissing)),
        (format!("GET {url} HTTP/1.1"), Some(Check::WhepTokenElsewhere)),
        (format!("DELETE {url} HTTP/1.1"), Some(Check::WhepTokenElsewhere)),
        (format!("POST {} HTTP/1.1", url.replace("demo", "demo/0123456789abcdef")), Some(Check::WhepTokenElsewhere)),
        (format!("POST /?{query} HTTP/1.1"), Some(Check::WhepTokenElsewhere)),
        (format!("POST {url}&X-Amz-ClientId=v HTTP/1.1"), Some(Check::ParameterTwice)),
        (format!("POST {url}&a=b HTTP/1.1"), Some(Check::SignatureMismatch)),
    ];
    for (lines, check) in cases {
        assert_eq!(refused(&lines, NOW), check, "{lines}");
    }
}

#[test]
fn a_players_token_opens_nothing_else_and_nothing_else_is_one() {
    let mut gate = authenticator(vec![principal("AKID")]);
    let url = player_url(KEYS, 604_800);
    let query = url.split_once('?').unwrap().1;
    let websocket = Upgrade {
        host: "h",
        channel_arn: ARN,
        client_id: Some("v"),
        expires_s: 300,
        now_s: NOW,
    };
    let websocket = Signer::new(KEYS, REGION).presign(&websocket);
    let lines = |text: &str| format!("{text} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut upgrade = |text: &str| {
        let text = lines(text);
        let head = head(&text);
        let checked = gate.check_upgrade(&head, NOW);
        checked.err().map(|refusal| refusal.check)
    };
    assert_eq!(upgrade(&format!("GET {websocket}")), None);
    let found = upgrade(&format!("GET {url}"));
    assert_eq!(found, Some(Check::WhepTokenElsewhere));
    for path in ["/", "/viewer", "/master", "/viewer/", "/whepx"] {
        let check = upgrade(&format!("GET {path}?{query}"));
        assert_eq!(check, Some(Check::SignatureMismatch), "{path}");
    }
    for call in ["/createSignalingChannel", "/whep/demo"] {
        let text = lines(&format!("POST {call}?{query}"));
        assert!(kvs(&mut gate, &text, b"", NOW).is_err(), "{call}");
    }
    let lines = format!("POST /whep/demo{} HTTP/1.1", &websocket[1..]);
    assert_eq!(refused(&lines, NOW), Some(Check::SignatureMismatch));
    let signed = Signed::of("AKID", "secret-of-AKID").head(b"");
    let signed = signed.replace("POST /x", "POST /whep/demo");
    let refusal = gate.check_whep(&head(&signed), NOW).map(drop);
    assert_eq!(refusal.unwrap_err().check, Check::SignatureMissing);
}

#[test]
fn a_players_token_of_temporary_credentials_ends_with_them() {
    let grant = Grant {
        root: GrantRoot::Key {
            access_key_id: "AKID".into(),
        },
        holder: GrantHolder::User,
        issued_s: Some(NOW),
        expires_s: NOW + 900,
    };
    let sealed = session_keys().seal(&[1; NONCE_BYTES], &grant, "secret-of-AKID");
    let temporary = sealed.unwrap();
    let keys = keys_of(&temporary);
    let text = format!("POST {} HTTP/1.1", player_url(keys, 31_536_000));
    assert_eq!(refused(&text, NOW + 899), None);
    assert_eq!(refused(&text, NOW + 900), Some(Check::TokenExpired));
    let token = temporary.session_token.reveal();
    let alone = format!("POST /whep/demo HTTP/1.1\r\nAuthorization: Bearer {token}");
    assert_eq!(refused(&alone, NOW), Some(Check::SignatureMissing));
}
