use super::*;
use codec::aws::policy::Policy;

const GRANT: Grant<'static> = Grant {
    account: "123456789012",
    parent_access_key_id: "AKIDEXAMPLE",
    parent_secret: "secret",
    name: "browser",
    policy: None,
    expires_s: 1_800_000_000,
};

/// A policy of this many bytes.
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

fn seal(keys: &SessionKeys, nonce: u8, grant: &Grant<'_>) -> Temporary {
    keys.seal(&[nonce; 32], grant).unwrap()
}

fn open(keys: &SessionKeys, temporary: &Temporary) -> Option<OpenedToken> {
    keys.open(
        &temporary.access_key_id,
        temporary.session_token.reveal().as_bytes(),
    )
}

#[test]
fn what_was_sealed_opens() {
    let policy = policy(40);
    let grant = Grant {
        policy: Some(&policy),
        ..GRANT
    };
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
    assert_eq!(
        (
            opened.account.as_str(),
            opened.parent_access_key_id.as_str()
        ),
        (GRANT.account, GRANT.parent_access_key_id)
    );
    assert_eq!(
        (
            opened.name.as_str(),
            opened.policy.as_ref(),
            opened.expires_s
        ),
        (GRANT.name, grant.policy, GRANT.expires_s)
    );
    assert!(!format!("{temporary:?} {opened:?}").contains(temporary.secret_access_key.reveal()));
}

#[test]
fn a_nonce_that_comes_twice_does_no_harm() {
    let other = Grant {
        name: "other",
        ..GRANT
    };
    let (one, two) = (seal(&keys(), 1, &GRANT), seal(&keys(), 1, &other));
    assert_ne!(one.access_key_id, two.access_key_id);
    assert_ne!(one.secret_access_key, two.secret_access_key);
    assert_ne!(one.session_token, two.session_token);
    assert_eq!(one, seal(&keys(), 1, &GRANT));
    assert_ne!(one, seal(&keys(), 2, &GRANT));
}

#[test]
fn no_changed_token_opens() {
    let temporary = seal(&keys(), 1, &GRANT);
    let token = temporary.session_token.reveal().as_bytes();
    let id = &temporary.access_key_id;
    for place in 0..token.len() {
        for other in [b'A', b'/', b'=', b' '] {
            let mut changed = token.to_vec();
            changed[place] = other;
            assert!(
                changed == token || keys().open(id, &changed).is_none(),
                "{place}"
            );
        }
        assert!(keys().open(id, &token[..place]).is_none(), "{place}");
    }
    assert!(keys().open(id, &[b'A'; TOKEN_BYTES_MAX + 4]).is_none());
    assert!(keys().open("ASIAAAAAAAAAAAAAAAAA", token).is_none());
    assert!(keys().open(&id.to_lowercase(), token).is_none());
}

#[test]
fn a_rotation_keeps_the_previous_key() {
    let old = seal(&keys(), 1, &GRANT);
    let rotated = SessionKeys::new(&[8; 32], Some(&[7; 32]));
    assert!(open(&rotated, &old).is_some());
    let new = seal(&rotated, 1, &GRANT);
    assert!(open(&rotated, &new).is_some());
    assert!(open(&keys(), &new).is_none());
    assert!(open(&SessionKeys::new(&[9; 32], Some(&[8; 32])), &old).is_none());
}

#[test]
fn a_token_counts_only_with_the_secret_it_was_asked_for_with() {
    let temporary = seal(&keys(), 1, &GRANT);
    let opened = open(&keys(), &temporary).unwrap();
    assert!(keys().was_issued_with(&opened, &"secret".into()));
    assert!(!keys().was_issued_with(&opened, &"another".into()));
    assert!(!keys().was_issued_with(&opened, &"".into()));
    // Every holder of the session key that was in force knows it, whatever is in force now.
    let rotated = SessionKeys::new(&[8; 32], Some(&[7; 32]));
    assert!(rotated.was_issued_with(&opened, &"secret".into()));
    assert!(!rotated.was_issued_with(&opened, &"another".into()));
    assert!(!SessionKeys::new(&[8; 32], None).was_issued_with(&opened, &"secret".into()));
}

#[test]
fn a_token_of_version_1_opens_and_no_other_can_be_made_one() {
    // Made by version 1 of GRANT, with a nonce of ones.
    let token = "Abm62JaPqKvRSHRRcQFqoMwE/VD5vF2pnyPv+xQ5jG2LqcE/f9jq+OTa6F74vR7h/RPpNLY/\
                     EZRpSGPYBTiv8czy8Xa49BglDw1G7P2Y+gHLC\
                     g1PkOTmJ6GqUJc48Gy6XmbvJSoauJVce6G+TLDow3TVi/s=";
    let opened = keys()
        .open("ASIANH7RPNV5OJFOK677", token.as_bytes())
        .unwrap();
    assert_eq!(
        (&*opened.name, opened.expires_s, opened.policy.as_ref()),
        (GRANT.name, GRANT.expires_s, None) // its policy has no statement: no rights
    );
    assert!(keys().was_issued_with(&opened, &"any".into()));
    let bound = seal(&keys(), 1, &GRANT);
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
        let issuer = sealer.issuer(GRANT.parent_access_key_id, GRANT.parent_secret);
        let mut grant = [&issuer[..], &GRANT.expires_s.to_be_bytes()].concat();
        for part in [GRANT.account, GRANT.parent_access_key_id, GRANT.name, text] {
            grant.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            grant.extend(part.as_bytes());
        }
        sealer.seal_bytes(version, &[1; 32], grant).unwrap()
    };
    let textual = sealed(TEXTUAL);
    assert!(textual.session_token.reveal().starts_with("Arm62J"));
    let opened = open(&keys(), &textual).unwrap();
    assert_eq!(opened.policy, Policy::parse_session(text).ok());
    assert!(keys().was_issued_with(&opened, &"secret".into()));
    assert!(!keys().was_issued_with(&opened, &"another".into()));
    // Text that is no policy in its version gives no rights.
    assert_eq!(open(&keys(), &sealed(VERSION)).unwrap().policy, None);
}

#[test]
fn the_largest_grant_fits_and_a_larger_one_does_not() {
    let (id, name) = ("A".repeat(128), "n".repeat(32));
    let (policy, longer) = (policy(2048), policy(2049));
    let largest = Grant {
        parent_access_key_id: &id,
        name: &name,
        policy: Some(&policy),
        ..GRANT
    };
    let temporary = seal(&keys(), 1, &largest);
    assert!(temporary.session_token.reveal().len() <= TOKEN_BYTES_MAX);
    assert_eq!(open(&keys(), &temporary).unwrap().policy, Some(policy));
    let too_long = Grant {
        policy: Some(&longer),
        ..GRANT
    };
    assert_eq!(keys().seal(&[1; 32], &too_long), Err(SealError::TooLong));
}
