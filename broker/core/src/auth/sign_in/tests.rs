use super::*;
use crate::auth::grant::OpenedRoot;
use crate::auth::{
    Assumption, Caller, Credentials, Denial, DeviceRegistryBuilder, PolicyQuestion, Principal,
    Role, RoleAlias, RoleFault, RoleGrant, RootGrant, SessionGrant, SessionKeys, TOKEN_BYTES_MAX,
    Things, assume,
};
use crate::check::Check;
use codec::policy::{Policy, Trust};
use codec::sts::{AssumeRole, RoleArn};
use std::sync::Arc;

const ACCOUNT: &str = "123456789012";
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
    Role {
        name: "camera".into(),
        account: ACCOUNT.into(),
        policies: Vec::new(),
        trust: Trust::parse(trust).unwrap(),
        max_session_s: 3600,
        clock_tolerance_s: None,
    }
}

/// Assumes a role that lets a principal do an action on a condition.
fn ask(
    sign_in: &SignIn,
    (principal, action, condition): (&str, &str, &str),
) -> Result<Assumption, RoleFault> {
    let trust = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {principal}, "Action": "{action}",
            "Condition": {condition}}}]}}"#
    );
    let credentials = Credentials::new(Vec::new()).unwrap();
    let credentials = credentials.with_roles(vec![role_of(&trust)], []).unwrap();
    let role = RoleArn::parse(&format!("arn:aws:iam::{ACCOUNT}:role/camera")).unwrap();
    let request = AssumeRole::new(role, "s1");
    let caller = Caller::signing_in(sign_in.clone(), ACCOUNT, Some("us-west-2".into()));
    assume(&caller, &credentials, &request, &mut 0)
}

fn is_let_in(sign_in: &SignIn, trust: (&str, &str, &str)) -> bool {
    match ask(sign_in, trust) {
        Ok(_) => true,
        Err(RoleFault::Denied(Denial { check, action, .. })) => {
            assert_eq!((check, action), (Check::TrustNoAllow, sign_in.action()));
            false
        }
        Err(other) => panic!("{other:?}"),
    }
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
    // Another action, another kind of principal, everybody, another account, other values and claims that are absent.
    let other = oidc.replace("123456789012", "210987654321");
    let account = r#"{"AWS": "123456789012"}"#;
    for trust in [
        (oidc, by_role, audience),
        (iot, by_web, r#"{"Null": {"aws:userid": true}}"#),
        (r#""*""#, by_web, audience),
        (account, by_web, audience),
        (&other, by_web, audience),
        (
            oidc,
            by_web,
            r#"{"StringEquals": {"id.example.com/realms/home:aud": "other"}}"#,
        ),
        (
            oidc,
            by_web,
            r#"{"StringEquals": {"id.example.com/realms/home:email": "a@b"}}"#,
        ),
        (
            oidc,
            by_web,
            r#"{"StringEquals": {"id.example.com/realms/homes:aud": "home-app"}}"#,
        ),
        (oidc, by_web, r#"{"Null": {"aws:userid": false}}"#),
        (oidc, by_web, r#"{"Null": {"aws:SourceArn": false}}"#),
    ] {
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

/// "This role is locked" is so for each kind of sign-in: a device, a user of a provider, a user of the account.
#[test]
fn a_denial_of_everybody_is_one_of_each_kind_of_sign_in() {
    let oidc = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{PROVIDER}");
    let allows = format!(
        r#"{{"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"], "Principal":
            {{"AWS": "arn:aws:iam::{ACCOUNT}:user/back-end", "Service": "credentials.iot.amazonaws.com",
             "Federated": "{oidc}"}}}}"#
    );
    let user = Principal {
        name: "back-end".into(),
        account: ACCOUNT.into(),
        access_key_id: "AKIDEXAMPLE".into(),
        secret: "secret".into(),
        session_token: None,
        expires_s: None,
        clock_tolerance_s: None,
        policies: Vec::new(),
    };
    let callers = [
        Caller::signing_in(thing(Some("front-door")), ACCOUNT, None),
        Caller::signing_in(web(), ACCOUNT, None),
        Caller::principal(Arc::new(user), None),
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
            let credentials = Credentials::new(Vec::new()).unwrap();
            let credentials = credentials.with_roles(vec![role_of(&trust)], []).unwrap();
            let role = RoleArn::parse(&format!("arn:aws:iam::{ACCOUNT}:role/camera")).unwrap();
            let request = AssumeRole::new(role, "s1");
            let told = callers.each_ref().map(|caller| {
                match assume(caller, &credentials, &request, &mut 0) {
                    Ok(_) => None,
                    Err(RoleFault::Denied(denial)) => Some(denial.check),
                    Err(other) => panic!("{other:?}"),
                }
            });
            assert_eq!(told, wanted, "{trust}");
        }
    }
}

/// A role's session, by what its token had when it signed in.
#[test]
fn a_claim_that_was_not_kept_denies_and_does_not_allow() {
    let check = |statements: &str| {
        let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
        let trust = r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:*"}]}"#;
        let role = Role {
            name: "camera".into(),
            account: ACCOUNT.into(),
            policies: vec![Arc::new(Policy::parse(&document).unwrap())],
            trust: Trust::parse(trust).unwrap(),
            max_session_s: 3600,
            clock_tolerance_s: None,
        };
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
    for (name, allowed, denied) in [
        // Kept with other values, and not kept.
        ("amr", Some(Check::PolicyNoAllow), None),
        (
            "email",
            Some(Check::PolicyNoAllow),
            Some(Check::PolicyExplicitDeny),
        ),
    ] {
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
        let grant = SessionGrant {
            root: RootGrant::SignIn(&sign_in),
            issued_s: 1,
            expires_s: 2,
            role: Some(RoleGrant {
                account: ACCOUNT,
                role: "camera",
                via: &[],
                session_name: "s1",
                source_identity: None,
                tags: &[],
                policies: &[],
                policy: None,
            }),
        };
        let temporary = keys.seal_session(&[1; 32], &grant).unwrap();
        assert!(temporary.session_token.reveal().len() < TOKEN_BYTES_MAX / 4);
        let token = temporary.session_token.reveal().as_bytes();
        let opened = keys.open(&temporary.access_key_id, token).unwrap();
        assert!(matches!(&opened.root, OpenedRoot::SignIn(read) if *read == sign_in));
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

/// Keys of a device, by what its alias stood for when they were given.
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
        let credentials = Credentials::new(Vec::new()).unwrap();
        let credentials = credentials
            .with_roles(vec![role_of(trust), other], [])
            .unwrap();
        let mut registry = DeviceRegistryBuilder::new(1);
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
    assert!(
        credentials(&trust("*"), "camera").knows(&identity),
        "read again"
    );
    assert!(!credentials(&trust("1*"), "camera").knows(&identity));
    assert!(!credentials(&trust("*"), "other").knows(&identity));
}
