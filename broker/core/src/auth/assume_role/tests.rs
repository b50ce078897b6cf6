use super::*;
use crate::auth::principal::Principal;
use crate::auth::session::{RoleSession, Root, Scope, Session, SessionKeyId, Source};
use codec::policy::{Policy, Trust};
use codec::{control::Tag, sts::RoleArn};

const ACCOUNT: &str = "123456789012";
const OTHER: &str = "210987654321";
const MAY: &str = r#"{"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}}"#;
const MAY_NOT: &str =
    r#"{"Statement": {"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": "*"}}"#;

/// A trust that lets this principal do these, on a condition.
fn trust(principal: &str, actions: &str, condition: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "{principal}"}},
            "Action": [{actions}], "Condition": {{"Null": {{"aws:userid": false}}{condition}}}}}]}}"#
    )
}

fn principal(name: &str, account: &str, policies: &[&str]) -> Arc<Principal> {
    let policies = policies.iter();
    let policies = policies.map(|text| Arc::new(Policy::parse(text).unwrap()));
    Arc::new(Principal {
        name: name.into(),
        account: account.into(),
        access_key_id: format!("AKID{name}"),
        secret: "secret".into(),
        session_token: None,
        expires_s: None,
        clock_tolerance_s: None,
        policies: policies.collect(),
    })
}

fn role(name: &str, policies: &[&str], trust: &str) -> Role {
    let policies = policies.iter();
    let policies = policies.map(|text| Arc::new(Policy::parse(text).unwrap()));
    Role {
        name: name.into(),
        account: ACCOUNT.into(),
        policies: policies.collect(),
        trust: Trust::parse(trust).unwrap(),
        max_session_s: 7200,
        clock_tolerance_s: None,
    }
}

fn file(roles: Vec<Role>) -> Credentials {
    let none = Credentials::new(Vec::new()).unwrap();
    none.with_roles(roles, []).unwrap()
}

fn asked(name: &str) -> AssumeRole {
    let role = RoleArn::parse(&format!("arn:aws:iam::{ACCOUNT}:role/{name}")).unwrap();
    AssumeRole::new(role, "s1")
}

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.into(),
        value: value.into(),
    }
}

fn user(name: &str, account: &str, policies: &[&str]) -> Caller {
    Caller::principal(principal(name, account, policies), None)
}

/// A session of a role.
fn session(role: Role, scope: Scope, tags: &[(&str, bool)], identity: Option<&str>) -> Caller {
    let tags = tags.iter().map(|(key, transitive)| SessionTag {
        key: (*key).into(),
        value: "1".into(),
        transitive: *transitive,
    });
    let source = Source::Role(RoleSession {
        label: format!("{}/s0", role.name),
        name: "s0".into(),
        role: Arc::new(role),
        root: Root::Principal(principal("root", ACCOUNT, &[])),
        via: Vec::new(),
        tags: tags.collect(),
        source_identity: identity.map(Into::into),
    });
    let session = Session {
        source,
        scope,
        key_id: SessionKeyId::of("ASIAABCDEFGHIJKLMNOP"),
        issued_s: Some(1),
        expires_s: 2,
    };
    Caller::session(session, None)
}

/// The decision, whatever it takes.
fn assume(
    caller: &Caller,
    file: &Credentials,
    asked: &AssumeRole,
) -> Result<Assumption, RoleFault> {
    super::assume(caller, file, asked, &mut 0)
}

/// The check that refuses, and what operators read.
fn refused(caller: &Caller, file: &Credentials, asked: &AssumeRole) -> (Action, Check, String) {
    match assume(caller, file, asked) {
        Err(RoleFault::Denied(Denial {
            action,
            check,
            ground,
        })) => (action, check, ground.map(String::from).unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_named_needs_no_permission_and_an_account_lends_none() {
    let own = format!("arn:aws:iam::{ACCOUNT}:user/web");
    let by_name = file(vec![role(
        "r",
        &[],
        &trust(&own, r#""sts:AssumeRole""#, ""),
    )]);
    let by_account = file(vec![role(
        "r",
        &[],
        &trust(ACCOUNT, r#""sts:AssumeRole""#, ""),
    )]);
    assert!(assume(&user("web", ACCOUNT, &[]), &by_name, &asked("r")).is_ok());
    assert!(assume(&user("web", ACCOUNT, &[MAY]), &by_account, &asked("r")).is_ok());
    assert_eq!(
        refused(&user("web", ACCOUNT, &[]), &by_account, &asked("r")),
        (
            Action::AssumeRole,
            Check::PolicyNoAllow,
            "the trust of r leaves sts:AssumeRole to the caller's own policies, and web has no policy".to_owned()
        )
    );
    let denied = user("web", ACCOUNT, &[MAY, MAY_NOT]);
    for file in [&by_name, &by_account] {
        assert_eq!(
            refused(&denied, file, &asked("r")).1,
            Check::PolicyExplicitDeny
        );
    }
    let stranger = user("other", ACCOUNT, &[MAY]);
    assert_eq!(
        refused(&stranger, &by_name, &asked("r")),
        (
            Action::AssumeRole,
            Check::TrustNoAllow,
            r#"the trust of r has no statement for sts:AssumeRole by "AWS": "arn:aws:iam::123456789012:user/other""#
                .to_owned()
        )
    );
    let absent = refused(&stranger, &by_name, &asked("q"));
    assert_eq!(absent.1, Check::RoleAbsent);
}

#[test]
fn another_account_needs_both_sides() {
    let theirs = format!("arn:aws:iam::{OTHER}:user/web");
    for named in [&*theirs, OTHER] {
        let file = file(vec![role(
            "r",
            &[],
            &trust(named, r#""sts:AssumeRole""#, ""),
        )]);
        assert!(assume(&user("web", OTHER, &[MAY]), &file, &asked("r")).is_ok());
        let bare = refused(&user("web", OTHER, &[]), &file, &asked("r"));
        assert_eq!(bare.1, Check::PolicyNoAllow);
        let ours = refused(&user("web", ACCOUNT, &[MAY]), &file, &asked("r"));
        assert_eq!(ours.1, Check::TrustNoAllow);
    }
}

#[test]
fn conditions_of_a_trust_are_asked() {
    let condition =
        r#", "StringEquals": {"sts:ExternalId": "x-1", "sts:RoleSessionName": "${aws:username}"}"#;
    let text = trust(ACCOUNT, r#""sts:AssumeRole""#, condition);
    let file = file(vec![role("r", &[], &text)]);
    let (web, other) = (user("s1", ACCOUNT, &[MAY]), user("web", ACCOUNT, &[MAY]));
    let right = AssumeRole {
        external_id: Some("x-1".into()),
        ..asked("r")
    };
    assert!(assume(&web, &file, &right).is_ok());
    let (_, check, ground) = refused(&other, &file, &right);
    assert_eq!(check, Check::TrustNoAllow);
    assert_eq!(
        ground,
        "the trust of r, statement 1, allows it, but its condition on sts:RoleSessionName does not hold"
    );
    let (.., ground) = refused(&web, &file, &asked("r"));
    assert!(ground.contains("sts:ExternalId"), "{ground}");
}

#[test]
fn tags_and_source_identities_need_their_own_trust() {
    let file = |actions| file(vec![role("r", &[], &trust(ACCOUNT, actions, ""))]);
    let web = user("web", ACCOUNT, &[MAY]);
    let tagged = AssumeRole {
        tags: vec![tag("house", "1")],
        transitive_tag_keys: vec!["House".into()],
        ..asked("r")
    };
    let known = AssumeRole {
        source_identity: Some("ops".into()),
        ..asked("r")
    };
    let bare = file(r#""sts:AssumeRole""#);
    assert_eq!(refused(&web, &bare, &tagged).0, Action::TagSession);
    assert_eq!(refused(&web, &bare, &known).0, Action::SetSourceIdentity);
    let full = file(r#""sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity""#);
    let given = assume(&web, &full, &tagged).unwrap();
    assert_eq!(
        given.tags,
        [SessionTag {
            key: "house".into(),
            value: "1".into(),
            transitive: true
        }]
    );
    assert_eq!(
        assume(&web, &full, &known)
            .unwrap()
            .source_identity
            .as_deref(),
        Some("ops")
    );
    let barred =
        r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}"#;
    let (action, check, _) = refused(&user("web", ACCOUNT, &[barred]), &full, &tagged);
    assert_eq!((action, check), (Action::TagSession, Check::PolicyNoAllow));
}

#[test]
fn a_chain_passes_on_what_cannot_be_replaced() {
    let all = r#""sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity""#;
    let next = || role("next", &[], &trust(ACCOUNT, all, ""));
    let file = file(vec![next()]);
    let first = role("first", &[MAY], &trust(ACCOUNT, all, ""));
    let caller = session(
        first,
        Scope::All,
        &[("house", true), ("room", false)],
        Some("ops"),
    );
    let given = assume(&caller, &file, &asked("next")).unwrap();
    let keys: Vec<_> = given.tags.iter().map(|tag| &*tag.key).collect();
    assert_eq!((keys, given.duration_s), (vec!["house"], 3600));
    assert_eq!(given.source_identity.as_deref(), Some("ops"));
    assert_eq!(given.via, ["first".into()]);
    for (wrong, text) in [
        (
            AssumeRole {
                tags: vec![tag("HOUSE", "2")],
                ..asked("next")
            },
            "conflicts with a transitive tag key",
        ),
        (
            AssumeRole {
                source_identity: Some("other".into()),
                ..asked("next")
            },
            "cannot be changed",
        ),
    ] {
        let error = assume(&caller, &file, &wrong).unwrap_err();
        assert!(
            matches!(error, RoleFault::Invalid(told) if told.contains(text)),
            "{error:?}"
        );
    }
    let long = AssumeRole {
        duration_s: Some(3601),
        ..asked("next")
    };
    let error = assume(&caller, &file, &long).unwrap_err();
    assert!(matches!(error, RoleFault::Duration { message, ground }
        if message.contains("role chaining") && ground.contains("at most 3600 s")));
    assert!(assume(&user("web", ACCOUNT, &[MAY]), &file, &long).is_ok());
    let longer = AssumeRole {
        duration_s: Some(7201),
        ..asked("next")
    };
    let error = assume(&user("web", ACCOUNT, &[MAY]), &file, &longer).unwrap_err();
    assert!(matches!(error, RoleFault::Duration { message, ground }
        if message.contains("MaxSessionDuration") && ground.contains("max_session")));
}

#[test]
fn the_work_of_what_is_refused_late_counts_as_well() {
    let file = file(vec![role(
        "r",
        &[],
        &trust(ACCOUNT, r#""sts:AssumeRole""#, ""),
    )]);
    let web = user("web", ACCOUNT, &[MAY]);
    let steps = |asked: &AssumeRole| {
        let mut steps = 0;
        let given = super::assume(&web, &file, asked, &mut steps).is_ok();
        (given, steps)
    };
    let (given, steps_of_given) = steps(&asked("r"));
    assert!(given && steps_of_given > 0);
    let long = AssumeRole {
        duration_s: Some(7201),
        ..asked("r")
    };
    assert_eq!(steps(&long), (false, steps_of_given));
}

#[test]
fn a_bound_of_a_session_is_no_way_round_its_role() {
    let named = format!("arn:aws:iam::{ACCOUNT}:role/first");
    let all = r#""sts:AssumeRole""#;
    let file = file(vec![role("next", &[], &trust(&named, all, ""))]);
    let first = || role("first", &[], &trust(ACCOUNT, all, ""));
    assert!(
        assume(
            &session(first(), Scope::All, &[], None),
            &file,
            &asked("next")
        )
        .is_ok()
    );
    let listing =
        r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}"#;
    let within = |text| Scope::Within(vec![Arc::new(Policy::parse(text).unwrap())]);
    for scope in [within(listing), within(MAY_NOT), Scope::Nothing] {
        let caller = session(first(), scope, &[], None);
        assert!(assume(&caller, &file, &asked("next")).is_err());
    }
    let caller = session(first(), within(MAY), &[], None);
    assert!(assume(&caller, &file, &asked("next")).is_ok());
}

#[test]
fn a_federated_user_assumes_nothing() {
    let own = format!("arn:aws:sts::{ACCOUNT}:federated-user/web");
    let file = file(vec![role("r", &[], &trust(&own, r#""sts:*""#, ""))]);
    let caller = Caller::session(
        Session {
            source: Source::Federated(principal("p", ACCOUNT, &[MAY]), "federated-user/web".into()),
            scope: Scope::Within(vec![Arc::new(Policy::parse(MAY).unwrap())]),
            key_id: SessionKeyId::of("ASIAABCDEFGHIJKLMNOP"),
            issued_s: None,
            expires_s: 2,
        },
        None,
    );
    assert_eq!(refused(&caller, &file, &asked("r")).1, Check::PolicyNoAllow);
}

#[test]
fn sessions_have_the_identities_of_aws() {
    let caller = session(
        role("camera", &[], &trust(ACCOUNT, r#""sts:AssumeRole""#, "")),
        Scope::All,
        &[],
        None,
    );
    assert_eq!(
        caller.arn(),
        "arn:aws:sts::123456789012:assumed-role/camera/s0"
    );
    let id = caller.user_id();
    let (unique, name) = id.split_once(':').unwrap();
    assert!(
        unique.starts_with("AROA") && unique.len() == 20 && name == "s0",
        "{id}"
    );
    assert_eq!(
        id,
        crate::auth::assumed_role_id("arn:aws:iam::123456789012:role/camera", "s0")
    );
    assert_eq!((caller.name(), caller.kind()), ("camera/s0", "AssumedRole"));
    assert_eq!(
        caller.short_principal_arn().as_str(),
        "arn:aws:iam::123456789012:role/camera"
    );
}
