mod account;
mod session;
mod signer;

use super::*;
use crate::auth::sign_in::Claim;
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use signer::{NOW_S, Signer, claims, provider, set, verified};

fn claim(name: &str, values: Vec<Box<str>>) -> Claim {
    let name = name.into();
    Claim { name, values }
}

fn fault(token: &str) -> TokenFault {
    verified(&provider(), token).unwrap_err()
}

#[test]
fn tokens_of_both_kinds_of_keys_are_let_in() {
    for (signer, id) in [(Signer::es256(), "e"), (Signer::rs256(), "r")] {
        for id in [Some(id), None] {
            let token = verified(&provider(), &signer.usual(id)).unwrap();
            assert_eq!((&*token.subject, &*token.audience), ("alice", "home-app"));
            assert_eq!(&*token.provider, "id.example.com/realms/home");
            assert!(provider().knows(&token));
        }
    }
}

#[test]
fn claims_that_policies_name_are_kept_with_all_their_values() {
    let more = json!({"email": "a@example.com", "amr": ["pwd", "otp", 3], "email_verified": true, "other": "x"});
    let token = Signer::es256().token(&claims(more), json!({}));
    let kept = verified(&provider(), &token).unwrap().claims;
    let texts = |values: &[&str]| values.iter().map(|it| Box::from(*it)).collect::<Vec<_>>();
    let wanted = [
        ("oaud", texts(&[])),
        ("email", texts(&["a@example.com"])),
        ("amr", texts(&["pwd", "otp", "3"])),
        ("email_verified", texts(&["true"])),
    ];
    assert_eq!(kept, wanted.map(|(name, values)| claim(name, values)));
    // Values that no condition could compare are treated as absent.
    for odd in [
        json!({"a": 1}),
        json!([{}]),
        json!("x".repeat(256)),
        json!(vec!["x"; 17]),
    ] {
        let token = Signer::es256().token(&claims(json!({"email": odd})), json!({}));
        let kept = verified(&provider(), &token).unwrap().claims;
        assert!(kept.contains(&claim("email", Vec::new())), "{kept:?}");
    }
}

#[test]
fn a_session_counts_while_its_client_is_known() {
    let identity = verified(&provider(), &Signer::es256().usual(None)).unwrap();
    let mut other = provider();
    other.client_ids.retain(|id| **id != *"home-app");
    assert!(!other.knows(&identity));
    let mut more = provider();
    more.claims.push("groups".into());
    let fine = more.knows(&identity);
    assert!(fine, "policies decide on what was not kept");
    more.account = "210987654321".into();
    assert!(!more.knows(&identity));
}

#[test]
fn the_party_that_a_token_names_is_the_client() {
    let token = |changes| Signer::es256().token(&claims(changes), json!({}));
    let one = json!({"azp": "tv-app", "aud": ["https://api.example.com", "home-app"]});
    let accepted = verified(&provider(), &token(one)).unwrap();
    assert_eq!(&*accepted.audience, "tv-app");
    let others: Vec<Box<str>> = vec!["https://api.example.com".into(), "home-app".into()];
    assert_eq!(accepted.claims[0], claim("oaud", others));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (json!({"azp": "other", "aud": "home-app"}), TokenFault::Audience),
        (json!({"aud": "other"}), TokenFault::Audience),
        (
            json!({"aud": ["home-app"], "azp": 1}),
            TokenFault::Claim("the claim azp is not a text of at most 255 bytes"),
        ),
        (json!({"aud": ["home-app", "tv-app"]}), TokenFault::Claim("several audiences require the claim azp")),
    ];
    for (changes, wanted) in cases {
        assert_eq!(fault(&token(changes)), wanted);
    }
    assert!(verified(&provider(), &token(json!({"aud": ["home-app"]}))).is_ok());
}

/// In access tokens, `client_id` plays the role that `azp` has in id tokens.
#[test]
fn the_client_of_an_access_token_counts() {
    let token = |changes, typ: &str| Signer::es256().token(&claims(changes), json!({"typ": typ}));
    let at = |changes| token(changes, "at+jwt");
    let foreign = json!({"aud": "home-app", "client_id": "other"});
    assert_eq!(fault(&at(foreign.clone())), TokenFault::Audience);
    let found = fault(&token(foreign.clone(), "application/AT+JWT"));
    assert_eq!(found, TokenFault::Audience);
    let fine = verified(&provider(), &token(foreign, "JWT")).is_ok();
    assert!(fine, "no claim of id tokens");
    let own = at(json!({"aud": "https://api.example.com", "client_id": "tv-app"}));
    assert_eq!(&*verified(&provider(), &own).unwrap().audience, "tv-app");
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        (json!({"client_id": 1}), "the claim client_id is not a text of at most 255 bytes"),
        (json!({"azp": "tv-app", "client_id": "home-app"}), "the claims azp and client_id differ"),
    ];
    for (changes, rule) in rows {
        assert_eq!(fault(&at(changes)), TokenFault::Claim(rule));
    }
}

/// Each row holds changes to the claims and part of the expected error message.
#[test]
fn claims_are_needed_and_bounded() {
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        (json!({"exp": null}), "exp is missing or invalid"),
        (json!({"exp": "1790000600"}), "exp is missing or invalid"),
        (json!({"exp": NOW_S - 60}), "has expired"),
        (json!({"exp": -5}), "exp is missing or invalid"),
        (json!({"iat": null}), "iat is missing or invalid"),
        (json!({"iat": NOW_S + 61}), "iat is in the future"),
        (json!({"iat": NOW_S - 3600, "exp": NOW_S + 23 * 3600 + 1}), "more than 24 hours"),
        (json!({"exp": u64::MAX}), "more than 24 hours"),
        (json!({"nbf": NOW_S + 61}), "nbf is in the future"),
        (json!({"nbf": "soon"}), "nbf is not a time"),
        (json!({"sub": null}), "sub is not a text"),
        (json!({"sub": ""}), "sub is not a text"),
        (json!({"sub": "x".repeat(256)}), "sub is not a text"),
        (json!({"sub": ["alice"]}), "sub is not a text"),
        (json!({"aud": null}), "aud is not a text"),
        (json!({"aud": []}), "aud is not a text"),
        (json!({"aud": vec!["home-app"; 17]}), "aud is not a text"),
        (json!({"aud": ["home-app", 1]}), "aud is not a text"),
        (json!({"iss": null}), "iss is missing or invalid"),
        (json!({"iss": ["https://id.example.com/realms/home"]}), "iss is missing or invalid"),
        (json!({"iss": "https://id.example.com/realms/home/"}), "has this issuer"),
        (json!({"iss": "http://id.example.com/realms/home"}), "has this issuer"),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), "not one of a sign-in"),
        (
            json!({"amr": vec!["y".repeat(250); 5]}),
            "exceed 1024 bytes",
        ),
    ];
    for (changes, wanted) in rows {
        let fault = fault(&Signer::es256().token(&claims(changes.clone()), json!({})));
        assert!(fault.to_string().contains(wanted), "{changes}: {fault}");
        assert!(!fault.asks_for_keys());
    }
    for changes in [
        json!({"exp": NOW_S - 59}),
        json!({"iat": NOW_S + 60, "nbf": NOW_S + 60}),
        json!({"iat": NOW_S, "exp": NOW_S + 24 * 3600}),
        json!({"exp": 1_790_000_600.5}),
        json!({"sub": "x".repeat(255), "huge": "y".repeat(10_000), "deep": [[[[{}]]]]}),
    ] {
        let token = Signer::es256().token(&claims(changes.clone()), json!({}));
        assert!(verified(&provider(), &token).is_ok(), "{changes}");
    }
}

#[test]
fn headers_that_bring_keys_or_other_rules_are_refused() {
    for (header, wanted) in [
        (json!({"crit": ["exp"]}), "crit"),
        (json!({"jku": "https://evil.example.com/keys"}), "jku"),
        (json!({"jwk": Signer::es256().jwk("e", json!({}))}), "jwk"),
        (json!({"x5u": "https://evil.example.com/cert"}), "x5u"),
        (json!({"typ": "logout+jwt"}), "typ"),
        (json!({"typ": 1}), "typ"),
        (json!({"alg": "none"}), "public-key"),
        (json!({"alg": "NONE"}), "public-key"),
        (json!({"alg": "HS256"}), "public-key"),
        (json!({"alg": null}), "public-key"),
        (json!({"alg": "ES384"}), "not one of the provider's"),
        (json!({"kid": 1}), "kid"),
        (json!({"x": "y".repeat(5000)}), "too long"),
    ] {
        let fault = fault(&Signer::es256().token(&claims(json!({})), header.clone()));
        assert!(fault.to_string().contains(wanted), "{header}: {fault}");
    }
    for typ in [
        json!({"typ": null}),
        json!({"typ": "jwt"}),
        json!({"typ": "application/at+jwt"}),
    ] {
        let token = Signer::es256().token(&claims(json!({})), typ);
        assert!(verified(&provider(), &token).is_ok());
    }
}

#[test]
fn what_two_readers_may_read_differently_is_refused() {
    let signer = Signer::es256();
    let text = claims(json!({})).to_string();
    let twice = text.replacen('{', r#"{"sub":"bob","#, 1);
    let header = r#"{"alg":"ES256"}"#;
    assert!(verified(&provider(), &signer.signed(header, &text)).is_ok());
    for (header, claims) in [
        (header, &*twice),
        (r#"{"alg":"ES256","alg":"ES256"}"#, &*text),
        (header, "[]"),
        (header, "{}}"),
        ("", &*text),
    ] {
        let fault = fault(&signer.signed(header, claims));
        let fine = matches!(fault, TokenFault::Malformed(_));
        assert!(fine, "{header} {claims}: {fault}");
    }
    let token = signer.signed(header, &text);
    for odd in [
        format!("{token}="),
        format!("{token}."),
        format!(" {token}"),
        token.replacen('.', "", 1),
    ] {
        assert!(verified(&provider(), &odd).is_err(), "{odd}");
    }
    assert!(matches!(
        fault(&"a".repeat(20_001)),
        TokenFault::Malformed(_)
    ));
}

#[test]
fn no_signature_and_one_with_the_public_key_as_a_secret_are_refused() {
    let token = Signer::rs256().usual(Some("r"));
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(fault(&format!("{message}.")), TokenFault::Signature);
    let jwk = Signer::rs256().jwk("r", json!({}));
    for secret in [jwk["n"].as_str().unwrap(), &*jwk.to_string()] {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        let token = jsonwebtoken::encode(&header, &claims(json!({})), &key).unwrap();
        assert!(matches!(fault(&token), TokenFault::Malformed(_)));
    }
}

#[test]
fn a_key_is_used_for_its_own_algorithm_and_under_its_own_name() {
    let (ec, rsa) = (Signer::es256(), Signer::rs256());
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (ec.usual(Some("nobody")), TokenFault::UnknownKey),
        (ec.usual(Some("../../dev/null")), TokenFault::UnknownKey),
        (ec.usual(Some("e\u{0}")), TokenFault::UnknownKey),
        (ec.usual(Some("r")), TokenFault::UnknownKey),
        // The token is signed by the RSA key, but its header names the other key.
        (rsa.token(&claims(json!({})), json!({"alg": "ES256", "kid": "e"})), TokenFault::Signature),
        (ec.token(&claims(json!({})), json!({"alg": "RS256", "kid": "r"})), TokenFault::Signature),
    ];
    for (token, wanted) in cases {
        assert_eq!(fault(&token), wanted);
    }
    let mut ours = provider();
    ours.algorithms = Algorithms::of_names(["PS256", "RS256"]).unwrap();
    // The `alg` of the key itself applies, whatever the provider may use.
    let token = rsa.token(&claims(json!({})), json!({"alg": "PS256", "kid": "r"}));
    assert_eq!(verified(&ours, &token), Err(TokenFault::UnknownKey));
    let token = ec.usual(None);
    assert!(matches!(
        verified(&ours, &token),
        Err(TokenFault::Malformed(_))
    ));
    assert!(TokenFault::UnknownKey.asks_for_keys() && TokenFault::NoKeys.asks_for_keys());
    let token = Unverified::read(&token).unwrap();
    let found = provider().verify(&token, None, NOW_S);
    assert_eq!(found, Err(TokenFault::NoKeys));
}

#[test]
fn a_token_without_a_key_id_needs_a_sole_key() {
    let mut ours = provider();
    let twice = [
        Signer::es256().jwk("e", json!({})),
        Signer::es256().jwk("f", json!({})),
    ];
    ours.keys = KeySource::File(Arc::new(set(&twice)));
    let found = verified(&ours, &Signer::es256().usual(None));
    assert_eq!(found, Err(TokenFault::AmbiguousKey));
    assert!(verified(&ours, &Signer::es256().usual(Some("f"))).is_ok());
}

#[test]
fn keys_that_must_not_sign_are_dropped() {
    let (ec, rsa) = (Signer::es256(), Signer::rs256());
    let bad = [
        ec.jwk("a", json!({"use": "enc"})),
        ec.jwk("b", json!({"key_ops": ["sign"]})),
        ec.jwk("c", json!({"alg": "RS256"})),
        ec.jwk("d", json!({"alg": "none"})),
        ec.jwk("e", json!({"crv": "P-521"})),
        ec.jwk("f", json!({"x": "AA"})),
        ec.jwk("g", json!({"kty": "unknown"})),
        rsa.jwk("h", json!({"alg": "HS256"})),
        rsa.jwk("i", json!({"alg": "RSA-OAEP"})),
        rsa.jwk("j", json!({"e": "AQAAAAAB"})),
        rsa.jwk("k", json!({"n": BASE64URL_NOPAD.encode(&[0xff; 128])})),
        rsa.jwk(
            "n",
            json!({"n": BASE64URL_NOPAD.encode(&[&[0x7f][..], &[0xff; 255]].concat())}),
        ),
        rsa.jwk("o", json!({"n": BASE64URL_NOPAD.encode(&[0xff; 1025])})),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "l"}),
        json!("no key"),
    ];
    let document = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let parsed = KeySet::parse(document(&bad).as_bytes());
    assert_eq!(parsed, Err(KeySetFault::NoneUsable));
    let mut some = bad.to_vec();
    some.push(ec.jwk("good", json!({"x5c": ["ignored"]})));
    let keys = KeySet::parse(document(&some).as_bytes()).unwrap();
    assert_eq!((keys.len(), keys.dropped()), (1, bad.len()));
    let many = vec![ec.jwk("m", json!({})); 101];
    let found = KeySet::parse(document(&many).as_bytes());
    assert_eq!(found, Err(KeySetFault::TooMany));
    for (text, wanted) in [
        (&b"{}"[..], KeySetFault::Malformed),
        (b"", KeySetFault::Malformed),
        (b"[]", KeySetFault::Malformed),
        (&[b' '; 64 * 1024 + 1], KeySetFault::TooLong),
    ] {
        assert_eq!(KeySet::parse(text), Err(wanted));
    }
}

#[test]
fn fetched_keys_are_found_by_issuer_and_wished_for_once() {
    let mut ours = provider();
    let KeySource::File(keys) = ours.keys else {
        panic!("keys of a file");
    };
    ours.keys = KeySource::Discovery(Discovery::default());
    let entry = ProviderKeys::default();
    let empty = Keyring::of([(ours.issuer.clone(), entry.clone())]);
    assert!(empty.keys_of(&ours).is_none() && Keyring::default().keys_of(&ours).is_none());
    Keyring::default().wish(&ours);
    assert!(!entry.take_wish());
    empty.wish(&ours);
    assert!(entry.take_wish() && !entry.take_wish());
    let full = entry.with(Some(keys));
    let full = Keyring::of([(ours.issuer.clone(), full)]);
    assert_eq!(full.keys_of(&ours).map(KeySet::len), Some(2));
}

#[test]
fn names_of_algorithms_with_shared_secrets_are_none() {
    for names in [&["HS256"][..], &["none"], &["RS256", "rs256"], &[]] {
        let found = Algorithms::of_names(names.iter().copied());
        assert_eq!(found, None, "{names:?}");
    }
    let found = Algorithms::of_names(["RS256", "ES256", "RS256"]);
    assert_eq!(found, Some(Algorithms::default()));
}

/// Changes a bit of one byte of a token, or adds or removes a byte. The last character of a signature contains unused
/// bits, and the decoder rejects the token if any of them is set.
#[test]
fn mutated_tokens_are_refused() {
    let ours = provider();
    let tokens = [
        Signer::es256().usual(Some("e")),
        Signer::rs256().usual(Some("r")),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..100_000 {
        let token = tokens[round % 2].as_bytes();
        let mut bytes = token.to_vec();
        for _ in 0..random.usize(1..=3) {
            let at = random.usize(..bytes.len());
            match random.u8(..5) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, random.u8(b'-'..=b'z')),
                _ => bytes[at] = *random.choice(ALPHABET).unwrap(),
            }
        }
        if bytes == token {
            continue;
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(verified(&ours, &text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_fault(text in ".{0,200}", json in "[\\{\\}\\[\\]\":,a-z0-9]{0,60}") {
        prop_assert!(verified(&provider(), &text).is_err());
        let part = BASE64URL_NOPAD.encode(json.as_bytes());
        let token = [&*part, &part, &part].join(".");
        prop_assert!(verified(&provider(), &token).is_err());
    }
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
