use super::*;
use crate::auth::fixtures::{ACCOUNT, principal, role};
use crate::auth::{
    Assumption, Caller, Credentials, DeviceRegistry, Grant, GrantHolder, GrantRoot, PolicyQuestion,
    Role, RoleAlias, RoleGrant, SessionKeys, TOKEN_BYTES_MAX, Things, assume,
};
use crate::{check::Check, refusal::Refusal};
use codec::sts::{AssumeRole, RoleArn};
use std::sync::Arc;

const PROVIDER: &str = "id.example.com/realms/home";

fn web() -> SignIn {
    SignIn::Web(WebIdentity {
        account: ACCOUNT.into(),
        provider: PROVIDER.into(),
        subject: "user-1".into(),
        audience: "home-app".into(),
        claims: vec![Claim {
            name: "amr".into(),
            values: vec!["pwd".into(), "otp".into()],
        }],
    })
}

fn thing(name: Option<&str>) -> SignIn {
    SignIn::Thing(ThingIdentity {
        certificate: [0xab; 32],
        numbers: Vec::new(),
        name: name.map(Into::into),
        thing_type: Some("doorbell".into()),
        alias: "cameras".into(),
        grounds: 0,
        authority: None,
    })
}

fn role_of(trust: &str) -> Role {
    role("camera", &[], trust)
}

fn request() -> AssumeRole {
    let role = RoleArn::parse(&format!("arn:aws:iam::{ACCOUNT}:role/camera")).unwrap();
    AssumeRole::new(role, "s1")
}

/// Assumes the role `camera` with this trust policy.
fn ask_by(trust: &str, caller: &Caller) -> Result<Assumption, Refusal> {
    let credentials = Credentials::new(Vec::new());
    let credentials = credentials.with_roles(vec![role_of(trust)], []);
    assume(caller, &credentials, &request(), &mut 0)
}

/// Assumes a role whose trust policy allows an action to a principal under a condition.
fn ask(
    sign_in: &SignIn,
    (principal, action, condition): (&str, &str, &str),
) -> Result<Assumption, Refusal> {
    let trust = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {principal}, "Action": "{action}",
            "Condition": {condition}}}]}}"#
    );
    let caller = Caller::signing_in(sign_in.clone(), ACCOUNT, Some("us-west-2".into()));
    ask_by(&trust, &caller)
}

fn is_let_in(sign_in: &SignIn, trust: (&str, &str, &str)) -> bool {
    let refused = ask(sign_in, trust).err();
    if let Some(refusal) = &refused {
        let action = sign_in.action().as_str();
        let message = format!("Not authorized to perform {action}");
        let found = (refusal.check, &*refusal.message);
        assert_eq!(found, (Check::TrustNoAllow, &*message));
    }
    refused.is_none()
}

#[test]
fn a_trust_names_the_provider_or_the_service_and_compares_what_they_proved() {
    let oidc =
        r#"{"Federated": "arn:aws:iam::123456789012:oidc-provider/id.example.com/realms/home"}"#;
    let iot = r#"{"Service": "credentials.iot.amazonaws.com"}"#;
    let (by_web, by_role) = ("sts:AssumeRoleWithWebIdentity", "sts:AssumeRole");
    let audience = r#"{"StringEquals": {"id.example.com/realms/home:aud": "home-app", "ID.example.com/realms/home:SUB":
        "user-1"}, "ForAnyValue:StringEquals": {"id.example.com/realms/home:amr": "otp"}}"#;
    let alias = r#"{"ArnEquals": {"aws:SourceArn": "arn:aws:iot:us-west-2:123456789012:rolealias/cameras"},
        "StringEquals": {"aws:SourceAccount": "123456789012", "credentials-iot:ThingName": "front-door"}}"#;
    assert!(is_let_in(&web(), (oidc, by_web, audience)));
    assert!(is_let_in(&thing(Some("front-door")), (iot, by_role, alias)));
    let federated =
        r#"{"StringLike": {"aws:FederatedProvider": "arn:*:oidc-provider/id.example.com/*"}}"#;
    assert!(is_let_in(&web(), (oidc, by_web, federated)));
    // The other cases vary the action, the kind of principal, the account and the values, or lack the claims.
    let other = oidc.replace("123456789012", "210987654321");
    let account = r#"{"AWS": "123456789012"}"#;
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (oidc, by_role, audience),
        (iot, by_web, r#"{"Null": {"aws:userid": true}}"#),
        (r#""*""#, by_web, audience),
        (account, by_web, audience),
        (&other, by_web, audience),
        (oidc, by_web, r#"{"StringEquals": {"id.example.com/realms/home:aud": "other"}}"#),
        (oidc, by_web, r#"{"StringEquals": {"id.example.com/realms/home:email": "a@b"}}"#),
        (oidc, by_web, r#"{"StringEquals": {"id.example.com/realms/homes:aud": "home-app"}}"#),
        (oidc, by_web, r#"{"Null": {"aws:userid": false}}"#),
        (oidc, by_web, r#"{"Null": {"aws:SourceArn": false}}"#),
    ];
    for trust in cases {
        assert!(!is_let_in(&web(), trust), "{trust:?}");
    }
    for (sign_in, trust) in [
        (thing(None), (iot, by_role, alias)),
        (thing(Some("garden")), (iot, by_role, alias)),
        (thing(Some("front-door")), (oidc, by_role, alias)),
    ] {
        assert!(!is_let_in(&sign_in, trust), "{trust:?}");
    }
}

/// A statement that denies everybody applies to every kind of sign-in: a device, a user of a provider, a user of the
/// account.
#[test]
fn a_denial_of_everybody_is_one_of_each_kind_of_sign_in() {
    let oidc = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{PROVIDER}");
    let allows = format!(
        r#"{{"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"], "Principal":
            {{"AWS": "arn:aws:iam::{ACCOUNT}:user/back-end", "Service": "credentials.iot.amazonaws.com",
             "Federated": "{oidc}"}}}}"#
    );
    let callers = [
        Caller::signing_in(thing(Some("front-door")), ACCOUNT, None),
        Caller::signing_in(web(), ACCOUNT, None),
        Caller::principal(Arc::new(principal("back-end", &[])), None),
    ];
    let is_service = r#", "Condition": {"Bool": {"aws:PrincipalIsAWSService": "true"}}"#;
    let is_none = r#", "Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}}"#;
    let is_met = r#", "Condition": {"Null": {"aws:PrincipalAccount": false}}"#;
    let is_not_met = r#", "Condition": {"Null": {"aws:PrincipalAccount": true}}"#;
    let (denied, allowed) = (Some(Check::TrustExplicitDeny), None);
    for (condition, wanted) in [
        ("", [denied; 3]),
        (is_met, [denied; 3]),
        (is_not_met, [allowed; 3]),
        (is_service, [denied, allowed, allowed]),
        (is_none, [allowed, denied, denied]),
    ] {
        for everybody in [r#""*""#, r#"{"AWS": "*"}"#] {
            let trust = format!(
                r#"{{"Version": "2012-10-17", "Statement": [{allows}, {{"Effect": "Deny", "Action": "sts:*",
                    "Principal": {everybody}{condition}}}]}}"#
            );
            let told = callers
                .each_ref()
                .map(|caller| ask_by(&trust, caller).err().map(|refusal| refusal.check));
            assert_eq!(told, wanted, "{trust}");
        }
    }
}

/// Decides about a role session, depending on what its token contained at sign-in.
#[test]
fn a_claim_that_was_not_kept_denies_and_does_not_allow() {
    let check = |statements: &str| {
        let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
        let trust = r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:*"}]}"#;
        let role = role("camera", &[&document], trust);
        let caller = Caller::supposed_session(Arc::new(role), Some(web()), 1, None);
        let question = PolicyQuestion::new(
            Action::ConnectAsMaster,
            "arn:aws:kinesisvideo:a:b:channel/c/1",
        );
        caller.decide(&question).denied
    };
    let statement = |effect: &str, condition: &str| {
        format!(
            r#"{{"Effect": "{effect}", "Action": "*", "Resource": "*", "Condition": {{"StringLike": {{{condition}}}}}}}"#
        )
    };
    let all = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}, "#;
    let claim = |name: &str| format!(r#""{PROVIDER}:{name}": "x*""#);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        // A claim kept with other values, and a claim that was not kept.
        ("amr", Some(Check::PolicyNoAllow), None),
        ("email", Some(Check::PolicyNoAllow), Some(Check::PolicyExplicitDeny)),
    ];
    for (name, allowed, denied) in cases {
        assert_eq!(check(&statement("Allow", &claim(name))), allowed, "{name}");
        let deny = all.to_owned() + &statement("Deny", &claim(name));
        assert_eq!(check(&deny), denied, "{name}");
    }
    let other = all.to_owned() + &statement("Deny", r#""other.example.com:email": "x*""#);
    assert_eq!(check(&other), None, "no token of this provider ever has it");
}

#[test]
fn the_token_of_a_session_names_the_sign_in_that_began_it() {
    let keys = SessionKeys::new(&[7; 32], None);
    for sign_in in [web(), thing(Some("front-door")), thing(None)] {
        let grant = Grant {
            root: GrantRoot::SignIn(sign_in.clone()),
            holder: GrantHolder::Role(RoleGrant::of(&request())),
            issued_s: Some(1),
            expires_s: 2,
        };
        let temporary = keys.seal(&[1; 32], &grant, "").unwrap();
        assert!(temporary.session_token.reveal().len() < TOKEN_BYTES_MAX / 4);
        let token = temporary.session_token.reveal().as_bytes();
        let opened = keys.open(&temporary.access_key_id, token).unwrap();
        assert_eq!(opened.grant.root, grant.root);
    }
}

#[test]
fn a_caller_that_signs_in_is_nobody_else() {
    let caller = Caller::signing_in(web(), ACCOUNT, None);
    assert_eq!(caller.name(), "id.example.com/realms/home:user-1");
    assert!(caller.is_known() && !caller.is_long_term());
    assert_eq!((caller.access_key_id(), caller.expires_s()), (None, None));
    assert_eq!(
        caller.denial(Action::AssumeRoleWithWebIdentity, "arn:x"),
        "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    );
    let bare = Caller::signing_in(thing(None), ACCOUNT, None);
    assert_eq!(bare.name(), format!("certificate/{}", "ab".repeat(32)));
    let longest = WebIdentity {
        account: ACCOUNT.into(),
        provider: "p".repeat(PROVIDER_BYTES_MAX).into(),
        subject: "s".into(),
        audience: "a".into(),
        claims: Vec::new(),
    };
    assert_eq!(longest.provider_arn().as_str().len(), 192);
}

/// Keys of a device remain valid only while their alias, role and trust policy are those for which they were issued.
#[test]
fn keys_of_a_device_end_where_their_alias_role_or_trust_is_another() {
    let trust = |condition: &str| {
        let named = r#"{"Service": "credentials.iot.amazonaws.com"}"#;
        format!(
            r#"{{"Statement": {{"Effect": "Allow", "Principal": {named}, "Action": "sts:AssumeRole",
                "Condition": {{"StringLike": {{"aws:SourceAccount": "{condition}"}}}}}}}}"#
        )
    };
    let credentials = |trust: &str, role: &str| {
        let alias = RoleAlias {
            name: "cameras".into(),
            role: role.into(),
            account: ACCOUNT.into(),
            duration_s: 900,
        };
        let other = Role {
            name: "other".into(),
            ..role_of(trust)
        };
        let credentials = Credentials::new(Vec::new());
        let credentials = credentials.with_roles(vec![role_of(trust), other], []);
        let mut registry = DeviceRegistry::new(1);
        let named = ("front-door", Some("doorbell"));
        registry.add([0xab; 32], named, false, None).unwrap();
        let things = Things {
            registry: registry.finish(false),
            ..Things::default()
        };
        credentials.with_things(vec![alias], Some(things))
    };
    let first = credentials(&trust("*"), "camera");
    let SignIn::Thing(identity) = thing(Some("front-door")) else {
        panic!("a thing");
    };
    let identity = SignIn::Thing(ThingIdentity {
        grounds: first.alias_grounds("cameras"),
        ..identity
    });
    assert!(first.knows(&identity));
    let fine = credentials(&trust("*"), "camera").knows(&identity);
    assert!(fine, "read again");
    assert!(!credentials(&trust("1*"), "camera").knows(&identity));
    assert!(!credentials(&trust("*"), "other").knows(&identity));
}
