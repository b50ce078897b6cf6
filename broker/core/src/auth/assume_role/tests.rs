use super::*;
use crate::auth::fixtures::{self, ACCOUNT, policies, role};
use crate::auth::principal::Principal;
use crate::auth::session::{RoleSession, SessionScope, Source};
use codec::{control::Tag, sts::RoleArn};
use std::sync::Arc;

const OTHER: &str = "210987654321";
const MAY: &str = r#"{"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}}"#;
const MAY_NOT: &str =
    r#"{"Statement": {"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": "*"}}"#;

/// Returns a trust policy that lets a principal perform these actions under a condition.
fn trust(principal: &str, actions: &str, condition: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "{principal}"}},
            "Action": [{actions}], "Condition": {{"Null": {{"aws:userid": false}}{condition}}}}}]}}"#
    )
}

fn file(roles: Vec<Role>) -> Credentials {
    let none = Credentials::new(Vec::new());
    none.with_roles(roles, [])
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
    let user = Principal {
        account: account.into(),
        ..fixtures::principal(name, policies)
    };
    Caller::principal(Arc::new(user), None)
}

/// Returns a caller that holds a session of a role.
fn session(
    role: Role,
    scope: SessionScope,
    tags: &[(&str, bool)],
    identity: Option<&str>,
) -> Caller {
    let tags = tags.iter().map(|(key, transitive)| SessionTag {
        key: (*key).into(),
        value: "1".into(),
        transitive: *transitive,
    });
    let source = Source::Role(RoleSession {
        tags: tags.collect(),
        source_identity: identity.map(Into::into),
        ..fixtures::role_session(role)
    });
    Caller::session(fixtures::session(source, scope).into(), None)
}

/// Calls `assume` and ignores the cost of the evaluation.
fn assume(caller: &Caller, file: &Credentials, asked: &AssumeRole) -> Result<Assumption, Refusal> {
    super::assume(caller, file, asked, &mut 0)
}

/// Returns the action and the check by which the request is refused, and the reason given to operators.
fn refused(caller: &Caller, file: &Credentials, asked: &AssumeRole) -> (String, Check, String) {
    let refusal = assume(caller, file, asked).unwrap_err();
    assert!(refusal.is_denial(), "{refusal:?}");
    let (_, action) = refusal.message.split_once("perform: ").unwrap();
    let (action, _) = action.split_once(' ').unwrap();
    let ground = refusal.policy.map(String::from);
    (action.to_owned(), refusal.check, ground.unwrap_or_default())
}

/// Returns credentials with a role `r` that the principal may assume.
fn role_for(principal: &str) -> Credentials {
    let trust = trust(principal, r#""sts:AssumeRole""#, "");
    file(vec![role("r", &[], &trust)])
}

#[test]
fn who_is_named_needs_no_permission_and_an_account_lends_none() {
    let own = format!("arn:aws:iam::{ACCOUNT}:user/web");
    let by_name = role_for(&own);
    let by_account = role_for(ACCOUNT);
    assert!(assume(&user("web", ACCOUNT, &[]), &by_name, &asked("r")).is_ok());
    assert!(assume(&user("web", ACCOUNT, &[MAY]), &by_account, &asked("r")).is_ok());
    assert_eq!(
        refused(&user("web", ACCOUNT, &[]), &by_account, &asked("r")),
        (
            "sts:AssumeRole".to_owned(),
            Check::PolicyNoAllow,
            "the trust of r delegates sts:AssumeRole to the caller's own policies, and web has no policy".to_owned()
        )
    );
    let denied = user("web", ACCOUNT, &[MAY, MAY_NOT]);
    for file in [&by_name, &by_account] {
        let found = refused(&denied, file, &asked("r")).1;
        assert_eq!(found, Check::PolicyExplicitDeny);
    }
    let stranger = user("other", ACCOUNT, &[MAY]);
    assert_eq!(
        refused(&stranger, &by_name, &asked("r")),
        (
            "sts:AssumeRole".to_owned(),
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
        let file = role_for(named);
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
    assert_eq!(refused(&web, &bare, &tagged).0, "sts:TagSession");
    assert_eq!(refused(&web, &bare, &known).0, "sts:SetSourceIdentity");
    let full = file(r#""sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity""#);
    let given = assume(&web, &full, &tagged).unwrap();
    let wanted = [SessionTag {
        key: "house".into(),
        value: "1".into(),
        transitive: true,
    }];
    assert_eq!(given.role.tags, wanted);
    let given = assume(&web, &full, &known).unwrap();
    assert_eq!(given.role.source_identity.as_deref(), Some("ops"));
    let barred =
        r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}"#;
    let (action, check, _) = refused(&user("web", ACCOUNT, &[barred]), &full, &tagged);
    assert_eq!((&*action, check), ("sts:TagSession", Check::PolicyNoAllow));
}

#[test]
fn a_chain_passes_on_what_cannot_be_replaced() {
    let all = r#""sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity""#;
    let next = || role("next", &[], &trust(ACCOUNT, all, ""));
    let file = file(vec![next()]);
    let first = role("first", &[MAY], &trust(ACCOUNT, all, ""));
    let caller = session(
        first,
        SessionScope::All,
        &[("house", true), ("room", false)],
        Some("ops"),
    );
    let given = assume(&caller, &file, &asked("next")).unwrap();
    let keys: Vec<_> = given.role.tags.iter().map(|tag| &*tag.key).collect();
    assert_eq!((keys, given.duration_s), (vec!["house"], 3600));
    assert_eq!(given.role.source_identity.as_deref(), Some("ops"));
    assert_eq!(given.role.via, ["first".into()]);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (AssumeRole { tags: vec![tag("HOUSE", "2")],..asked("next") }, "conflicts with a transitive tag key"),
        (AssumeRole { source_identity: Some("other".into()),..asked("next") }, "cannot be changed"),
    ];
    for (wrong, text) in cases {
        let refusal = assume(&caller, &file, &wrong).unwrap_err();
        assert_eq!(refusal.error, ErrorKind::InvalidParameterValue.into());
        assert!(refusal.message.contains(text), "{refusal:?}");
    }
    let long = AssumeRole {
        duration_s: Some(3601),
        ..asked("next")
    };
    let too_long = |caller: &Caller, asked: &AssumeRole, words: [&str; 2]| {
        let refusal = assume(caller, &file, asked).unwrap_err();
        assert_eq!(refusal.error, ErrorKind::ValidationError.into());
        assert!(refusal.message.contains(words[0]), "{refusal:?}");
        assert!(refusal.policy.unwrap().contains(words[1]));
    };
    too_long(&caller, &long, ["role chaining", "at most 3600 s"]);
    assert!(assume(&user("web", ACCOUNT, &[MAY]), &file, &long).is_ok());
    let longer = AssumeRole {
        duration_s: Some(7201),
        ..asked("next")
    };
    let web = user("web", ACCOUNT, &[MAY]);
    too_long(&web, &longer, ["MaxSessionDuration", "max_session"]);
}

#[test]
fn the_work_of_what_is_refused_late_counts_as_well() {
    let file = role_for(ACCOUNT);
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
    let fine = assume(
        &session(first(), SessionScope::All, &[], None),
        &file,
        &asked("next"),
    )
    .is_ok();
    assert!(fine);
    let listing =
        r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}"#;
    let within = |text| SessionScope::Within(policies(&[text]));
    for scope in [within(listing), within(MAY_NOT), SessionScope::Nothing] {
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
    let parent = Arc::new(fixtures::principal("p", &[MAY]));
    let source = Source::Federated(parent, "federated-user/web".into());
    let session = fixtures::session(source, SessionScope::Within(policies(&[MAY])));
    let caller = Caller::session(session.into(), None);
    assert_eq!(refused(&caller, &file, &asked("r")).1, Check::PolicyNoAllow);
}

#[test]
fn sessions_have_the_identities_of_aws() {
    let caller = session(
        role("camera", &[], &trust(ACCOUNT, r#""sts:AssumeRole""#, "")),
        SessionScope::All,
        &[],
        None,
    );
    let found = caller.arn();
    assert_eq!(found, "arn:aws:sts::123456789012:assumed-role/camera/s1");
    let id = caller.user_id();
    let (unique, name) = id.split_once(':').unwrap();
    let fine = unique.starts_with("AROA") && unique.len() == 20 && name == "s1";
    assert!(fine, "{id}");
    assert_eq!(
        id,
        crate::auth::assumed_role_id("arn:aws:iam::123456789012:role/camera", "s1")
    );
    assert_eq!((caller.name(), caller.kind()), ("camera/s1", "AssumedRole"));
    let arn = caller.short_principal_arn();
    assert_eq!(arn.as_str(), "arn:aws:iam::123456789012:role/camera");
}
