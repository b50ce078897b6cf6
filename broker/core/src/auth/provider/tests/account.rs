//! Id tokens of people who use the console.

use crate::auth::provider::tests::signer::{NOW_S, Signer, claims, provider};
use crate::auth::provider::{AccountFault, KeySource, TokenFault, Unverified, WantedClaims};
use serde_json::{Value, json};

const WANTED: WantedClaims<'static> = WantedClaims {
    client_id: "console",
    nonce: "the-nonce",
    claim: "groups",
    value: "operators",
};

/// Verifies a token whose usual claims have these changes.
fn outcome(wanted: &WantedClaims<'_>, changes: &Value) -> Result<Box<str>, AccountFault> {
    let mut usual = claims(json!({
        "aud": "console", "nonce": "the-nonce", "groups": ["staff", "operators"],
    }));
    for (name, value) in changes.as_object().unwrap() {
        usual[name] = value.clone();
    }
    let token = Signer::es256().token(&usual, json!({}));
    let token = Unverified::read(&token).map_err(AccountFault::Token)?;
    let provider = provider();
    let KeySource::File(keys) = &provider.keys else {
        panic!("keys of a file");
    };
    provider.verify_account(&token, Some(keys), wanted, NOW_S)
}

#[test]
fn the_claim_is_a_text_or_a_list_that_has_the_value() {
    for groups in [
        json!("operators"),
        json!(["operators"]),
        json!(["a", 7, "operators"]),
    ] {
        let subject = outcome(&WANTED, &json!({ "groups": groups })).unwrap();
        assert_eq!(&*subject, "alice");
    }
    // People in large organisations belong to this many groups.
    let mut many: Vec<_> = (0..500).map(|nth| format!("group {nth}")).collect();
    many.push("operators".into());
    assert!(outcome(&WANTED, &json!({ "groups": many })).is_ok());
    for groups in [
        json!(null),
        json!("Operators"),
        json!("operators "),
        json!("staff,operators"),
        json!(["operators2", ["operators"]]),
        json!({"operators": true}),
        json!(true),
    ] {
        let stranger = AccountFault::Stranger("alice".into());
        let fault = outcome(&WANTED, &json!({ "groups": groups }));
        assert_eq!(fault, Err(stranger), "{groups}");
    }
    // Claim names are case-sensitive.
    let changes = json!({"groups": null, "Groups": ["operators"]});
    assert!(outcome(&WANTED, &changes).is_err());
}

#[test]
fn the_token_is_of_this_client_and_this_sign_in() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (json!({"nonce": "another"}), AccountFault::Nonce),
        (json!({"nonce": null}), AccountFault::Nonce),
        (json!({"nonce": ["the-nonce"]}), AccountFault::Nonce),
        (json!({"aud": "home-app"}), AccountFault::Token(TokenFault::Audience)),
        (json!({"aud": "home-app", "azp": "console"}), AccountFault::Token(TokenFault::Audience)),
        (json!({"aud": ["console", "home-app"], "azp": "home-app"}), AccountFault::Token(TokenFault::Audience)),
        (json!({"exp": NOW_S - 61}), AccountFault::Token(TokenFault::Expired)),
    ];
    for (changes, fault) in cases {
        assert_eq!(outcome(&WANTED, &changes), Err(fault), "{changes}");
    }
    let both = json!({"aud": ["console", "home-app"], "azp": "console"});
    assert!(outcome(&WANTED, &both).is_ok());
}

#[test]
fn an_address_decides_only_when_the_provider_has_checked_it() {
    let wanted = WantedClaims {
        claim: "email",
        value: "ada@example.com",
        ..WANTED
    };
    for (checked, well) in [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!(null), false),
        (json!(1), false),
    ] {
        let changes = json!({"email": "ada@example.com", "email_verified": checked});
        let unchecked = AccountFault::Unchecked("alice".into());
        let expected = if well {
            Ok("alice".into())
        } else {
            Err(unchecked)
        };
        assert_eq!(outcome(&wanted, &changes), expected, "{checked}");
    }
}
