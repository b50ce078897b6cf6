use super::*;
use crate::auth::grant::{CHAIN_MAX, GrantHolder, RoleGrant, SessionTag};
use codec::policy::Policy;

/// Access key id of the parent.
const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "secret";
const ACCOUNT: &str = "123456789012";
const NAME: &str = "browser";
const EXPIRES_S: u64 = 1_800_000_000;

fn grant_of(name: &str, policy: Option<Policy>) -> Grant {
    Grant::federated(ID, ACCOUNT, name, policy, EXPIRES_S)
}

/// Returns a policy of this many bytes.
fn policy(bytes: usize) -> Policy {
    let resource = "a".repeat(bytes - 15);
    let text = format!(
        r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "arn:{resource}"}}}}"#
    );
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.bytes().len(), bytes);
    policy
}

fn keys() -> SessionKeys {
    SessionKeys::new(&[7; 32], None)
}

fn seal(keys: &SessionKeys, nonce: u8, grant: &Grant) -> Temporary {
    keys.seal(&[nonce; 32], grant, SECRET).unwrap()
}

fn browser(keys: &SessionKeys) -> Temporary {
    seal(keys, 1, &grant_of(NAME, None))
}

fn open(keys: &SessionKeys, temporary: &Temporary) -> Option<OpenedToken> {
    let token = temporary.session_token.reveal().as_bytes();
    keys.open(&temporary.access_key_id, token)
}

/// Returns the account, the key of the parent, the name and the policy in a federated user's token.
fn federated(opened: &OpenedToken) -> (&str, &str, &str, Option<&Policy>) {
    let GrantRoot::Key { access_key_id } = &opened.grant.root else {
        panic!("{opened:?}");
    };
    let GrantHolder::Federated {
        account,
        name,
        policy,
    } = &opened.grant.holder
    else {
        panic!("{opened:?}");
    };
    (account, access_key_id, name, policy.as_ref())
}

fn role_of(opened: OpenedToken) -> RoleGrant {
    let GrantHolder::Role(role) = opened.grant.holder else {
        panic!("it is no session of a role");
    };
    role
}

#[test]
fn what_was_sealed_opens() {
    let policy = policy(40);
    let grant = grant_of(NAME, Some(policy.clone()));
    let temporary = seal(&keys(), 1, &grant);
    let id = temporary.access_key_id.strip_prefix("ASIA").unwrap();
    assert_eq!(id.len(), 16);
    assert!(
        id.bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
    );
    assert_eq!(temporary.secret_access_key.reveal().len(), 40);
    let opened = open(&keys(), &temporary).unwrap();
    assert_eq!(opened.secret_access_key, temporary.secret_access_key);
    assert_eq!(federated(&opened), (ACCOUNT, ID, NAME, Some(&policy)));
    let found = (opened.grant.expires_s, temporary.expires_s);
    assert_eq!(found, (EXPIRES_S, EXPIRES_S));
    assert!(!format!("{temporary:?} {opened:?}").contains(temporary.secret_access_key.reveal()));
}

#[test]
fn a_nonce_that_comes_twice_does_no_harm() {
    let (one, two) = (browser(&keys()), seal(&keys(), 1, &grant_of("other", None)));
    assert_ne!(one.access_key_id, two.access_key_id);
    assert_ne!(one.secret_access_key, two.secret_access_key);
    assert_ne!(one.session_token, two.session_token);
    assert_eq!(one, browser(&keys()));
    assert_ne!(one, seal(&keys(), 2, &grant_of(NAME, None)));
}

#[test]
fn no_changed_token_opens() {
    let temporary = browser(&keys());
    let token = temporary.session_token.reveal().as_bytes();
    let id = &temporary.access_key_id;
    for place in 0..token.len() {
        for other in [b'A', b'/', b'=', b' '] {
            let mut changed = token.to_vec();
            changed[place] = other;
            let fine = changed == token || keys().open(id, &changed).is_none();
            assert!(fine, "{place}");
        }
        assert!(keys().open(id, &token[..place]).is_none(), "{place}");
    }
    assert!(keys().open(id, &[b'A'; TOKEN_BYTES_MAX + 4]).is_none());
    assert!(keys().open("ASIAAAAAAAAAAAAAAAAA", token).is_none());
    assert!(keys().open(&id.to_lowercase(), token).is_none());
}

#[test]
fn a_rotation_keeps_the_previous_key() {
    let old = browser(&keys());
    let rotated = SessionKeys::new(&[8; 32], Some(&[7; 32]));
    assert!(open(&rotated, &old).is_some());
    let new = browser(&rotated);
    assert!(open(&rotated, &new).is_some());
    assert!(open(&keys(), &new).is_none());
    assert!(open(&SessionKeys::new(&[9; 32], Some(&[8; 32])), &old).is_none());
}

#[test]
fn a_token_counts_only_with_the_secret_it_was_asked_for_with() {
    let temporary = browser(&keys());
    let opened = open(&keys(), &temporary).unwrap();
    assert!(keys().was_begun_with(&opened, ID, &"secret".into()));
    assert!(!keys().was_begun_with(&opened, ID, &"another".into()));
    assert!(!keys().was_begun_with(&opened, ID, &"".into()));
    // The check works for every holder of the session key under which the token was issued, whatever key is current.
    let rotated = SessionKeys::new(&[8; 32], Some(&[7; 32]));
    assert!(rotated.was_begun_with(&opened, ID, &"secret".into()));
    assert!(!rotated.was_begun_with(&opened, ID, &"another".into()));
    assert!(!SessionKeys::new(&[8; 32], None).was_begun_with(&opened, ID, &"secret".into()));
}

#[test]
fn a_token_of_version_1_opens_and_no_other_can_be_made_one() {
    // This token was created by version 1 with a nonce of ones.
    let token = "Abm62JaPqKvRSHRRcQFqoMwE/VD5vF2pnyPv+xQ5jG2LqcE/f9jq+OTa6F74vR7h/RPpNLY/\
                     EZRpSGPYBTiv8czy8Xa49BglDw1G7P2Y+gHLC\
                     g1PkOTmJ6GqUJc48Gy6XmbvJSoauJVce6G+TLDow3TVi/s=";
    let opened = keys().open("ASIANH7RPNV5OJFOK677", token.as_bytes());
    let opened = opened.expect("it opens");
    let (.., name, policy) = federated(&opened);
    assert_eq!(
        (name, opened.grant.expires_s, policy),
        (NAME, EXPIRES_S, None) // its policy has no statement, so it confers no rights
    );
    assert!(keys().was_begun_with(&opened, ID, &"any".into()));
    let bound = browser(&keys());
    let bytes = bound.session_token.reveal().as_bytes();
    let mut bytes = base64::decode(bytes).unwrap();
    assert_eq!(bytes[0], VERSION);
    bytes[0] = UNBOUND;
    let mut unbound = Vec::new();
    base64::encode(&mut unbound, &bytes);
    assert!(keys().open(&bound.access_key_id, &unbound).is_none());
}

#[test]
fn a_token_of_version_2_has_the_text_of_its_policy() {
    let text =
        r#"{"Statement": {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}}"#;
    let sealer = Sealer::new(&[7; 32]);
    let sealed = |version| {
        let issuer = sealer.issuer(ID, SECRET);
        let mut grant = [&issuer[..], &EXPIRES_S.to_be_bytes()].concat();
        for part in [ACCOUNT, ID, NAME, text] {
            grant.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            grant.extend(part.as_bytes());
        }
        sealer.seal_bytes(version, &[1; 32], grant, 0).unwrap()
    };
    let textual = sealed(TEXTUAL);
    assert!(textual.session_token.reveal().starts_with("Arm62J"));
    let opened = open(&keys(), &textual).unwrap();
    let found = federated(&opened).3;
    assert_eq!(found, Policy::parse_session(text).ok().as_ref());
    assert!(keys().was_begun_with(&opened, ID, &"secret".into()));
    assert!(!keys().was_begun_with(&opened, ID, &"another".into()));
    // Text that is not a valid policy in its version confers no rights.
    assert_eq!(federated(&open(&keys(), &sealed(VERSION)).unwrap()).3, None);
}

#[test]
fn the_largest_grant_fits_and_a_larger_one_does_not() {
    let (id, name) = ("A".repeat(128), "n".repeat(32));
    let largest = Grant::federated(&id, ACCOUNT, &name, Some(policy(2048)), EXPIRES_S);
    let temporary = seal(&keys(), 1, &largest);
    assert!(temporary.session_token.reveal().len() <= TOKEN_BYTES_MAX);
    let opened = open(&keys(), &temporary).unwrap();
    assert_eq!(federated(&opened).3, Some(&policy(2048)));
    let too_long = grant_of(NAME, Some(policy(2049)));
    let sealed = keys().seal(&[1; 32], &too_long, SECRET);
    assert_eq!(sealed, Err(SealError::TooLong));
}

fn role_grant(tags: Vec<SessionTag>, policy: Option<Policy>) -> Grant {
    Grant {
        holder: GrantHolder::Role(RoleGrant {
            account: ACCOUNT.into(),
            role: "camera".into(),
            via: Vec::new(),
            session_name: "front-door".into(),
            source_identity: Some("ops".into()),
            tags,
            policies: vec!["bound".into()],
            policy: Ok(policy),
        }),
        issued_s: Some(1_700_000_000),
        ..grant_of(NAME, None)
    }
}

fn camera(nonce: u8) -> Temporary {
    seal(&keys(), nonce, &role_grant(Vec::new(), None))
}

fn tag(key: &str, value: &str) -> SessionTag {
    SessionTag {
        key: key.into(),
        value: value.into(),
        transitive: true,
    }
}

#[test]
fn a_session_of_a_role_opens_with_all_that_it_hangs_on() {
    let (tags, policy) = (vec![tag("house", "1")], policy(40));
    let grant = role_grant(tags.clone(), Some(policy.clone()));
    let temporary = seal(&keys(), 1, &grant);
    let opened = open(&keys(), &temporary).unwrap();
    let found = (opened.grant.issued_s, opened.grant.expires_s);
    assert_eq!(found, (Some(1_700_000_000), EXPIRES_S));
    assert!(
        matches!(&opened.grant.root, GrantRoot::Key { access_key_id } if &**access_key_id == ID)
    );
    let was_begun_with = |secret: &str| keys().was_begun_with(&opened, ID, &secret.into());
    assert!(was_begun_with("secret") && !was_begun_with("another"));
    let role = role_of(opened);
    let found = (&*role.account, &*role.role, &*role.session_name);
    assert_eq!(found, (ACCOUNT, "camera", "front-door"));
    let wanted = (tags, Ok(Some(policy)));
    assert_eq!((role.tags, role.policy), wanted);
    let found = (role.source_identity.as_deref(), role.policies);
    assert_eq!(found, (Some("ops"), vec!["bound".into()]));
    let own = Grant {
        holder: GrantHolder::User,
        ..grant
    };
    let opened = open(&keys(), &seal(&keys(), 1, &own)).unwrap();
    assert!(matches!(opened.grant.holder, GrantHolder::User));
}

#[test]
fn a_grant_that_says_more_than_one_may_is_refused() {
    type Texts = Vec<&'static str>;
    let texts = |count| vec!["t"; count];
    let tags = |count| vec![("k", "v", true); count];
    let opened =
        |(via, tags, policies): (Texts, Vec<(&str, &str, bool)>, Texts), policy, more: &[u8]| {
            let role = (
                "123456789012",
                "camera",
                via,
                "s1",
                None::<&str>,
                tags,
                policies,
                policy,
            );
            let mut bytes = vec![0; ISSUER_BYTES];
            bytes.extend(crate::wire::write(&(
                0u8,
                "AKIDEXAMPLE",
                1u64,
                2u64,
                Some(role),
            )));
            bytes.extend(more);
            let sealed = Sealer::new(&[7; 32])
                .seal_bytes(SESSION, &[1; 32], bytes, 0)
                .unwrap();
            Some(role_of(open(&keys(), &sealed)?).policy)
        };
    let most = || (texts(CHAIN_MAX), tags(50), texts(10));
    assert_eq!(opened(most(), None, &[]), Some(Ok(None)));
    assert_eq!(opened(most(), None, &[0]), None);
    for more in [
        (texts(CHAIN_MAX + 1), tags(0), texts(0)),
        (texts(0), tags(51), texts(0)),
        (texts(0), tags(0), texts(11)),
    ] {
        assert_eq!(opened(more, None, &[]), None);
    }
    // A policy that cannot be read is not the same as an absent policy.
    assert_eq!(opened(most(), Some(&[255u8][..]), &[]), Some(Err(())));
}

#[test]
fn a_session_that_does_not_fit_a_token_is_not_sealed() {
    let tags = |count: usize| {
        let tags = (0..count).map(|nth| tag(&format!("key-{nth}"), &"v".repeat(200)));
        tags.collect::<Vec<_>>()
    };
    let sealed = |tags, policy| keys().seal(&[1; 32], &role_grant(tags, policy), SECRET);
    let fits = sealed(tags(12), None).unwrap();
    assert!(fits.session_token.reveal().len() <= TOKEN_BYTES_MAX);
    for (tags, policy) in [(tags(50), None), (tags(0), Some(policy(2049)))] {
        assert_eq!(sealed(tags, policy), Err(SealError::TooLong));
    }
}

#[test]
fn no_token_is_that_of_another_kind_or_key() {
    let (session, federated) = (camera(1), browser(&keys()));
    let bytes = |temporary: &Temporary| {
        base64::decode(temporary.session_token.reveal().as_bytes()).unwrap()
    };
    for (temporary, other) in [(&session, &federated), (&federated, &session)] {
        let token = other.session_token.reveal().as_bytes();
        assert!(keys().open(&temporary.access_key_id, token).is_none());
    }
    for temporary in [&session, &federated] {
        for version in [UNBOUND, TEXTUAL, VERSION, SESSION, 0, 4] {
            let mut changed = bytes(temporary).to_vec();
            if changed[0] == version {
                continue;
            }
            changed[0] = version;
            let mut text = Vec::new();
            base64::encode(&mut text, &changed);
            let opened = keys().open(&temporary.access_key_id, &text);
            assert!(opened.is_none(), "{version}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]

    /// Changes, truncates or extends the bytes of a session's token, or splices in bytes from another token.
    #[test]
    fn no_mutated_session_opens(
        changes in proptest::collection::vec((0..400usize, 1..=255u8), 1..4),
        cut in 0..3usize,
        spliced in proptest::bool::ANY,
    ) {
        let (one, two) = (camera(1), camera(2));
        let bytes = |one: &Temporary| base64::decode(one.session_token.reveal().as_bytes()).unwrap().to_vec();
        let (original, other) = (bytes(&one), bytes(&two));
        let mut changed = original.clone();
        if spliced {
            let place = changes[0].0 % original.len();
            changed.truncate(place);
            changed.extend(&other[place..]);
        } else {
            for (place, change) in changes {
                let place = place % changed.len();
                changed[place] ^= change;
            }
            changed.truncate(changed.len() - cut);
        }
        proptest::prop_assume!(changed != original);
        let mut text = Vec::new();
        base64::encode(&mut text, &changed);
        for id in [&one.access_key_id, &two.access_key_id] {
            let is_other = changed == other && *id == two.access_key_id;
            proptest::prop_assert!(is_other || keys().open(id, &text).is_none());
        }
    }

    /// Any bytes that a holder of the key could seal are either read or refused.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal_bytes(SESSION, &[1; 32], bytes, 0).unwrap();
        let token = sealed.session_token.reveal().as_bytes();
        let _ = keys().open(&sealed.access_key_id, token);
    }
}
