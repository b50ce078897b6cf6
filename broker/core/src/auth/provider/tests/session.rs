//! Tests for claims about the session, and for the one issuer that has two names.

use crate::auth::provider::tests::signer::{NOW_S, Signer, claims, provider, verified};
use crate::auth::provider::{TokenFault, Unverified};
use codec::sts::SessionClaims;
use serde_json::{Value, json};

fn session(changes: Value) -> Result<SessionClaims, TokenFault> {
    let token = Signer::es256().token(&claims(changes), json!({}));
    Unverified::read(&token)?.claims.session()
}

fn tags(of: &SessionClaims) -> Vec<(&str, &str)> {
    let tags = of.tags.iter();
    tags.map(|tag| (&*tag.key, &*tag.value)).collect()
}

/// The example in the IAM User Guide, in its nested and flat forms.
#[test]
fn tags_and_the_source_identity_are_claims() {
    let nested = session(json!({
        "https://aws.amazon.com/tags": {
            "principal_tags": {"Project": ["Automation"], "CostCenter": ["987654"], "Department": ["Engineering"]},
            "transitive_tag_keys": ["Project", "CostCenter"],
        },
        "https://aws.amazon.com/source_identity": "Admin",
    }));
    let flat = session(json!({
        "https://aws.amazon.com/tags/principal_tags/Project": "Automation",
        "https://aws.amazon.com/tags/principal_tags/CostCenter": "987654",
        "https://aws.amazon.com/tags/principal_tags/Department": "Engineering",
        "https://aws.amazon.com/tags/transitive_tag_keys": ["Project", "CostCenter"],
        "https://aws.amazon.com/source_identity": "Admin",
    }));
    let wanted = [
        ("CostCenter", "987654"),
        ("Department", "Engineering"),
        ("Project", "Automation"),
    ];
    for read in [nested.unwrap(), flat.unwrap()] {
        assert_eq!(tags(&read), wanted);
        let transitive = ["Project", "CostCenter"].map(Box::from);
        assert_eq!(read.transitive_tag_keys, transitive);
        assert_eq!(read.source_identity.as_deref(), Some("Admin"));
    }
    assert_eq!(session(json!({})), Ok(SessionClaims::default()));
}

#[test]
fn claims_of_a_session_have_the_bounds_of_parameters() {
    let of = |tags: Value| json!({"https://aws.amazon.com/tags": tags});
    let many: Value = (0..51).map(|nth| (nth.to_string(), json!("x"))).collect();
    for odd in [
        of(json!("Project")),
        of(json!([])),
        of(json!({"principal_tags": ["Project"]})),
        of(json!({"principal_tags": {"Project": ["a", "b"]}})),
        of(json!({"principal_tags": {"Project": []}})),
        of(json!({"principal_tags": {"Project": 1}})),
        of(json!({"principal_tags": {"Project": "x", "PROJECT": "y"}})),
        of(json!({"principal_tags": {"aws:x": "y"}})),
        of(json!({"principal_tags": {"": "y"}})),
        of(json!({"principal_tags": {"a*": "y"}})),
        of(json!({"principal_tags": {"a": "y".repeat(257)}})),
        of(json!({ "principal_tags": many })),
        of(json!({"transitive_tag_keys": ["Project"]})),
        of(json!({"principal_tags": {"a": "b"}, "transitive_tag_keys": "a"})),
        of(json!({"principal_tag": {"a": "b"}})),
        json!({
            "https://aws.amazon.com/tags": {"principal_tags": {"a": "b"}},
            "https://aws.amazon.com/tags/principal_tags/A": "c",
        }),
    ] {
        let fault = session(odd.clone()).unwrap_err().to_string();
        let fine = fault.contains("/tags has no valid session tags");
        assert!(fine, "{odd}: {fault}");
    }
    for odd in [
        json!(1),
        json!(["a"]),
        json!("a"),
        json!("x y"),
        json!("x".repeat(65)),
    ] {
        let claim = json!({"https://aws.amazon.com/source_identity": odd});
        let fault = session(claim).unwrap_err().to_string();
        let fine = fault.contains("source_identity is invalid");
        assert!(fine, "{odd}: {fault}");
    }
}

#[test]
fn google_alone_may_leave_out_the_scheme() {
    let mut google = provider();
    google.issuer = "accounts.google.com".into();
    let token = |issuer: &str| Signer::es256().token(&claims(json!({ "iss": issuer })), json!({}));
    for issuer in ["accounts.google.com", "https://accounts.google.com"] {
        let token = token(issuer);
        let identity = verified(&google, &token).unwrap();
        assert_eq!(&*identity.provider, "accounts.google.com");
        assert_eq!(Unverified::read(&token).unwrap().claimed_issuer(), issuer);
    }
    #[rustfmt::skip] // a list
    let cases = ["http://accounts.google.com", "accounts.google.com/", "Accounts.google.com"];
    for issuer in cases {
        assert_eq!(verified(&google, &token(issuer)), Err(TokenFault::Issuer));
    }
    let short = token("id.example.com/realms/home");
    assert_eq!(verified(&provider(), &short), Err(TokenFault::Issuer));
    let ours = Signer::es256().usual(None);
    assert_eq!(verified(&google, &ours), Err(TokenFault::Issuer));
    let ended = claims(json!({"iss": "accounts.google.com", "exp": NOW_S - 60}));
    let ended = Signer::es256().token(&ended, json!({}));
    assert_eq!(verified(&google, &ended), Err(TokenFault::Expired));
}
