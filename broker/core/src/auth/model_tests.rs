//! Compares decisions about callers with the decisions of their individual policies, which the codec's oracle verifies.

use super::{Caller, Credentials, PolicyQuestion, Principal};
use crate::auth::fixtures::{self, ACCOUNT};
use crate::auth::principal::decide_all;
use crate::auth::session::{SessionScope, Source};
use crate::check::Check;
use codec::identifiers::ChannelArn;
use codec::policy::{Action, Decision, Policy, Request};
use std::sync::Arc;

const REGION: &str = "us-west-2";

const DEVICES: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": ["kinesisvideo:ConnectAsMaster", "kinesisvideo:Describe*", "kinesisvideo:GetSignalingChannelEndpoint"],
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-*/*"}]}"#;
const VIEWERS: &str = r#"{"Statement": {"Effect": "Allow", "Action": ["KinesisVideo:connectasviewer", "kinesisvideo:GetIceServerConfig"],
    "Resource": ["arn:aws:kinesisvideo:*:*:channel/cam-?/*"], "Condition": {"StringLike": {"kinesisvideo:ClientId": ["web-*", "v?"]}}}}"#;
const ADMIN: &str = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
const NO_DELETE: &str =
    r#"{"Statement": [{"Effect": "Deny", "Action": "kinesisvideo:Delete*", "Resource": "*"}]}"#;
const NO_BAD: &str = r#"{"Statement": [{"Effect": "Deny", "Action": "kinesisvideo:*", "Resource": "*",
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "web-bad"}}}]}"#;
const OTHERS: &str = r#"{"Statement": [{"Effect": "Allow", "Action": ["s3:*", "kinesisvideo:PutMedia"], "Resource": "*"}]}"#;
const MAKERS: &str = r#"{"Statement": [{"Effect": "Allow", "Action": "kinesisvideo:CreateSignalingChannel",
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/*"},
    {"Effect": "Allow", "Action": "sts:GetFederationToken", "Resource": "arn:aws:sts::123456789012:federated-user/web-*"}]}"#;

const ROLES: &[&[&str]] = &[
    &[],
    &[DEVICES],
    &[VIEWERS],
    &[DEVICES, VIEWERS],
    &[ADMIN],
    &[ADMIN, NO_DELETE],
    &[NO_BAD, ADMIN],
    &[OTHERS, MAKERS],
];

#[rustfmt::skip] // a list
const ACTIONS: &[Action] = &[
    Action::ConnectAsMaster, Action::ConnectAsViewer, Action::DescribeSignalingChannel, Action::DeleteSignalingChannel,
    Action::CreateSignalingChannel, Action::GetIceServerConfig, Action::GetFederationToken,
];

const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/1700000000000",
    "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/*",
    "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-12/1700000000000",
    "arn:aws:kinesisvideo:eu-west-1:999999999999:channel/cam-1/1700000000000",
    "arn:aws:kinesisvideo:us-west-2:123456789012:channel/Cam-1/1700000000000",
    "arn:aws:sts::123456789012:federated-user/web-1",
];

const CLIENTS: &[Option<&str>] = &[None, Some("web-1"), Some("web-bad"), Some("v1"), Some("V1")];

const SESSIONS: &[Option<&str>] = &[None, Some(ADMIN), Some(VIEWERS), Some(NO_DELETE)];

/// Evaluates each document separately. Returns whether any of them allows the request and whether any of them denies
/// it.
fn judge(documents: &[&str], action: Action, resource: &str, client: Option<&str>) -> (bool, bool) {
    let decide = |document: &&str| {
        let request = Request {
            action,
            resource,
            client_id: client,
            context: &(),
        };
        let policy = Policy::parse(document).unwrap();
        policy.decide(&request, &mut 0, &mut None)
    };
    let decisions: Vec<Decision> = documents.iter().map(decide).collect();
    let any = |decision| decisions.contains(&decision);
    (any(Decision::Allow), any(Decision::Deny))
}

fn principal(role: &[&str]) -> Arc<Principal> {
    Arc::new(fixtures::principal("fleet", role))
}

fn federated(role: &[&str], policy: Option<&str>) -> Caller {
    let policy = policy.map(|text| Policy::parse_session(text).unwrap());
    let scope = policy.map_or(SessionScope::Nothing, |policy| {
        SessionScope::Within(vec![Arc::new(policy)])
    });
    let source = Source::Federated(principal(role), "federated-user/web-1".into());
    Caller::session(fixtures::session(source, scope).into(), Some(REGION.into()))
}

fn ask(caller: &Caller, action: Action, resource: &str, client_id: Option<&str>) -> Option<Check> {
    let question = PolicyQuestion {
        client_id,
        ..PolicyQuestion::new(action, resource)
    };
    caller.decide(&question).denied
}

/// Iterates over every combination of an action, a resource and a client id.
fn questions() -> impl Iterator<Item = (Action, &'static str, Option<&'static str>)> {
    ACTIONS.iter().flat_map(|action| {
        RESOURCES.iter().flat_map(move |resource| {
            CLIENTS
                .iter()
                .map(move |client| (*action, *resource, *client))
        })
    })
}

#[test]
fn principals_may_what_the_model_says() {
    let (mut yes, mut no) = (0, 0);
    for role in ROLES {
        let caller = Caller::principal(principal(role), None);
        for (action, resource, client) in questions() {
            let (allowed, denied) = judge(role, action, resource, client);
            let may = allowed && !denied;
            let check = [Check::PolicyNoAllow, Check::PolicyExplicitDeny][usize::from(denied)];
            assert_eq!(
                ask(&caller, action, resource, client),
                (!may).then_some(check),
                "{role:?} {action:?} {resource} {client:?}"
            );
            *(if may { &mut yes } else { &mut no }) += 1;
        }
    }
    assert!(yes > 200 && no > 200, "{yes} allowed, {no} refused");
}

#[test]
fn temporary_credentials_may_what_both_sides_allow() {
    let (mut yes, mut no) = (0, 0);
    for role in ROLES {
        for session in SESSIONS {
            let caller = federated(role, *session);
            for (action, resource, client) in questions() {
                let own = session.map_or((false, false), |text| {
                    judge(&[text], action, resource, client)
                });
                let parent = judge(role, action, resource, client);
                let wanted = own == (true, false)
                    && parent == (true, false)
                    && action != Action::GetFederationToken;
                let denied = own.1 || parent.1;
                let check = [Check::PolicyNoAllow, Check::PolicyExplicitDeny][usize::from(denied)];
                assert_eq!(
                    ask(&caller, action, resource, client),
                    (!wanted).then_some(check),
                    "{role:?} {session:?} {action:?} {resource} {client:?}"
                );
                *(if wanted { &mut yes } else { &mut no }) += 1;
            }
        }
    }
    assert!(yes > 200 && no > 200, "{yes} allowed, {no} refused");
}

#[test]
fn callers_are_told_apart_by_what_they_cannot_choose() {
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let hash = |caller: &Caller| hasher.hash_one(caller.identity().unwrap());
    let only = |id: &str| {
        format!(
            r#"{{"Statement": [{{"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
            "Condition": {{"StringEquals": {{"kinesisvideo:ClientId": {id}}}}}}}]}}"#
        )
    };
    let user = |policy: &str| federated(&[ADMIN], Some(policy));
    let own = Caller::principal(principal(&[ADMIN]), None);
    assert!(Caller::anyone(ACCOUNT).identity().is_none());
    assert_eq!(hash(&own), hash(&Caller::principal(principal(&[]), None)));
    assert_ne!(hash(&own), hash(&user(ADMIN)));
    // Users with the same name differ if each may use exactly one client id, but not if they may choose one.
    let (one, other) = (only(r#""v1""#), only(r#""v2""#));
    assert_eq!(hash(&user(&one)), hash(&user(&one)));
    assert_ne!(hash(&user(&one)), hash(&user(&other)));
    for choice in [only(r#"["v1", "v2"]"#), VIEWERS.to_owned()] {
        assert_eq!(hash(&user(&choice)), hash(&user(ADMIN)), "{choice}");
    }
}

#[test]
fn a_refusal_names_who_what_and_where() {
    let caller = Caller::principal(principal(&[]), None);
    assert_eq!(
        caller.denial(Action::ConnectAsMaster, RESOURCES[1]),
        "User: arn:aws:iam::123456789012:user/fleet is not authorized to perform: kinesisvideo:ConnectAsMaster on \
         resource: \
         arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/1700000000000"
    );
    assert!(federated(&[], None).denial(Action::GetFederationToken, "*").starts_with(
        "User: arn:aws:sts::123456789012:federated-user/web-1 is not authorized to perform: sts:GetFederationToken on"
    ));
    let id = caller.user_id();
    assert!(id.len() == 20 && id.starts_with("AIDA"), "{id}");
    assert_eq!(id, Caller::principal(principal(&[ADMIN]), None).user_id());
}

#[test]
fn another_account_and_region_look_absent() {
    let arn = |text: &str| ChannelArn::parse(text, false).unwrap();
    let (ours, theirs) = (arn(RESOURCES[1]), arn(RESOURCES[4]));
    let foreign = arn("arn:aws:kinesisvideo:us-west-2:999999999999:channel/cam-1/1");
    let elsewhere = arn("arn:aws:kinesisvideo:eu-west-1:123456789012:channel/cam-1/1");
    for caller in [
        Caller::principal(principal(&[ADMIN]), Some(REGION.into())),
        federated(&[ADMIN], Some(ADMIN)),
    ] {
        assert!(caller.sees(&ours));
        assert!(!caller.sees(&theirs) && !caller.sees(&foreign) && !caller.sees(&elsewhere));
    }
    let any_region = Caller::principal(principal(&[]), None);
    assert!(any_region.sees(&elsewhere) && !any_region.sees(&foreign));
    let anyone = Caller::anyone(ACCOUNT);
    assert!(
        anyone.sees(&theirs) && ask(&anyone, Action::DeleteSignalingChannel, "*", None).is_none()
    );
}

const APP_ONLY: &str = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
    "Condition": {"StringEquals": {"aws:UserAgent": "app"}}}}"#;

#[test]
fn operators_read_the_statement_that_refused() {
    let ground = |documents: &[&str]| {
        let mut ground = None;
        let request = Request {
            action: Action::DeleteSignalingChannel,
            resource: RESOURCES[1],
            client_id: None,
            context: &(),
        };
        let _ = decide_all(
            &fixtures::policies(documents),
            &request,
            &mut 0,
            &mut ground,
        );
        ground.map(|(document, _)| document)
    };
    assert_eq!(ground(&[APP_ONLY, NO_DELETE, NO_DELETE]), Some(1));
    assert_eq!(ground(&[NO_DELETE, APP_ONLY]), Some(0));
    assert_eq!(ground(&[OTHERS, APP_ONLY, APP_ONLY]), Some(1));

    let told = |caller: &Caller| {
        let ruling = caller.decide(&PolicyQuestion::new(Action::DeleteSignalingChannel, "*"));
        caller.ground_of(&ruling).unwrap()
    };
    let of_session = told(&federated(&[ADMIN], Some(VIEWERS)));
    assert!(
        of_session.starts_with("the session's policy"),
        "{of_session}"
    );
    assert_eq!(
        &*told(&Caller::principal(principal(&[]), None)),
        "fleet has no policy"
    );
}

#[test]
fn the_first_principal_that_may_is_one_of_the_account_with_a_valid_key_and_no_token() {
    let named = |name: &str| fixtures::principal(name, &[ADMIN]);
    let all = [
        Principal {
            account: "999999999999".into(),
            ..named("a")
        },
        Principal {
            session_token: Some("token".into()),
            ..named("b")
        },
        Principal {
            expires_s: Some(100),
            ..named("c")
        },
        fixtures::principal("d", &[NO_DELETE]),
        named("e"),
    ];
    let request = Request {
        action: Action::DeleteSignalingChannel,
        resource: "*",
        client_id: None,
        context: &(),
    };
    let first = |count: usize| {
        let credentials = Credentials::new(all[..count].to_vec());
        let found = credentials.first_allowed(ACCOUNT, &request, 100);
        found.map(|principal| principal.arn())
    };
    assert_eq!(
        first(5).as_deref(),
        Some("arn:aws:iam::123456789012:user/e")
    );
    assert_eq!(first(4), None);
}
