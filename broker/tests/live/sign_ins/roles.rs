//! Refusals of AssumeRole and GetSessionToken: one for each way in which caller, role and session are named. Every
//! reason of a trust is in `core/src/auth/assume_role/tests.rs`.

use super::{Seen, assert_seen};
use crate::signed::service::{Service, credentials, principal};
use crate::signed::signer::Signer;
use crate::signed::sts::{element, federate, granted, sts};

/// One role for each way in which a trust refuses.
const ROLES: &str = r#"
[role.named]
policies = ["all"]
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"AWS": "arn:aws:iam::123456789012:user/backend"}}]}'''
[role.account]
policies = []
trust = '''{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": ["sts:AssumeRole", "sts:TagSession"]},
    {"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::123456789012:user/barred"}, "Action": "sts:AssumeRole"}]}'''
[role.external]
policies = []
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"AWS": "arn:aws:iam::123456789012:user/backend"},
    "Condition": {"StringEquals": {"sts:ExternalId": "x-1"}}}]}'''
[role.next]
policies = []
max_session = "12h"
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"AWS": "arn:aws:iam::123456789012:role/named"}}]}'''
"#;

/// A call that is refused.
struct Case {
    /// The name of its signer in [`Signers`].
    by: &'static str,
    /// The role; empty where the call asks for none.
    role: &'static str,
    more: &'static [(&'static str, &'static str)],
    code: &'static str,
    check: &'static str,
    principal: &'static str,
    reason: &'static str,
}

/// Refusals by a trust, or by the caller's own policies.
#[rustfmt::skip] // a table, a case per row
const DENIED: &[Case] = &[
    denied("admin", "absent", &[], "role_absent", "the role is not in the credentials file"),
    denied("barred", "account", &[], "trust_explicit_deny", "the trust of account, statement 2, denies it"),
    denied("backend", "external", &[("ExternalId", "x-2")], "trust_no_allow", EXTERNAL_ID),
];

/// Refusals of what was asked for.
const UNFIT: &[Case] = &[
    Case {
        by: "role",
        role: "next",
        more: &[("DurationSeconds", "7200")],
        code: "ValidationError",
        check: "argument_invalid",
        principal: "named/s0",
        reason: "(role chaining), role next here, lasts at most 3600 s",
    },
    Case {
        by: "backend",
        role: "named",
        more: &[("Policy", "{")],
        code: "MalformedPolicyDocument",
        check: "session_policy_malformed",
        principal: "backend",
        reason: "1:",
    },
    Case {
        by: "backend",
        role: "named",
        more: &[("DurationSeconds", "5")],
        code: "ValidationError",
        check: "argument_invalid",
        principal: "",
        reason: "Value '5' at 'durationSeconds' failed to satisfy constraint",
    },
];

/// Refusals of keys that are temporary themselves.
#[rustfmt::skip] // a table, a case per row
const TEMPORARY: &[Case] = &[
    Case { principal: "federated-user/web-1", ..denied("federated", "account", &[], "policy_no_allow", BY_KIND) },
    Case { principal: "admin", ..denied("session", "", GET_SESSION, "policy_no_allow", "GetSessionToken") },
    Case { principal: "admin", ..denied("session", "", GET_FEDERATION, "policy_no_allow", BY_KIND) },
    Case { principal: "named/s0", ..denied("role", "", GET_FEDERATION, "policy_no_allow", BY_KIND) },
];

const fn denied(
    by: &'static str,
    role: &'static str,
    more: &'static [(&'static str, &'static str)],
    check: &'static str,
    reason: &'static str,
) -> Case {
    Case {
        by,
        role,
        more,
        code: "AccessDenied",
        check,
        principal: by,
        reason,
    }
}

const EXTERNAL_ID: &str =
    "the trust of external, statement 1, allows it, but its condition on sts:ExternalId does";
const BY_KIND: &str = "temporary keys of this kind may not call it, whatever policies allow";
const GET_SESSION: &[(&str, &str)] = &[("Action", "GetSessionToken")];
const GET_FEDERATION: &[(&str, &str)] = &[("Action", "GetFederationToken"), ("Name", "web-2")];

/// The keys of a name: a principal's, or temporary ones.
fn signer(service: &Service, name: &str) -> Signer {
    let form = match name {
        "session" => GET_SESSION,
        "role" => &[
            ("Action", "AssumeRole"),
            ("RoleArn", "arn:aws:iam::123456789012:role/named"),
            ("RoleSessionName", "s0"),
        ],
        "federated" => {
            let policy = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
            return federate(service, &Signer::new("admin"), policy).0;
        }
        principal => return Signer::new(principal),
    };
    let by = if name == "role" { "backend" } else { "admin" };
    granted(service, &sts(service, &Signer::new(by), form))
}

/// Asserts a refusal, and what operators see of it.
fn walk(service: &Service, case: &Case, more: &[(&str, &str)]) {
    let arn = format!("arn:aws:iam::123456789012:role/{}", case.role);
    let session = match case.more {
        [("Action", "GetFederationToken"), (_, name)] => Some((*name).to_owned()),
        _ => (!case.role.is_empty()).then(|| format!("{}/s1", case.role)),
    };
    let mut form = case.more.to_vec();
    form.extend(more);
    if !case.role.is_empty() {
        let role = [
            ("Action", "AssumeRole"),
            ("RoleArn", &*arn),
            ("RoleSessionName", "s1"),
        ];
        form.extend(role);
    }
    let signer = signer(service, case.by);
    let answer = sts(service, &signer, &form);
    let body = answer.text();
    assert_eq!(element(&body, "Code"), case.code, "{}: {body}", case.reason);
    let is_read = !case.principal.is_empty();
    #[rustfmt::skip] // a table, a case per row
    let named = [
        ("role", (is_read && !case.role.is_empty()).then_some(&*arn)),
        ("session", session.as_deref().filter(|_| is_read)),
        ("principal", Some(if is_read { case.principal } else { case.by })),
    ];
    let seen = Seen {
        check: case.check,
        named: &named,
        reason: case.reason,
    };
    let token = signer.token.unwrap_or_default();
    assert_seen(service, element(&body, "RequestId"), &seen, &token);
}

#[test]
fn each_refused_session_is_named_with_its_role_and_what_decided() {
    let service = Service::with(
        &(credentials() + &principal("backend", "[]", "") + ROLES),
        &[],
        1,
    );
    service.keep(&Signer::new("backend").secret);
    for case in DENIED.iter().chain(UNFIT).chain(TEMPORARY) {
        walk(&service, case, &[]);
    }
    let value = "v".repeat(256);
    let keys: Vec<_> = (1..=20)
        .map(|nth| {
            (
                format!("Tags.member.{nth}.Key"),
                format!("k{nth}"),
                format!("Tags.member.{nth}.Value"),
            )
        })
        .collect();
    let tags = keys
        .iter()
        .flat_map(|(key, name, held)| [(&**key, &**name), (&**held, &*value)]);
    let large = Case {
        code: "PackedPolicyTooLarge",
        ..denied(
            "admin",
            "account",
            &[],
            "session_policy_malformed",
            "take more room than a session token has",
        )
    };
    walk(&service, &large, &tags.collect::<Vec<_>>());
    service.end();
}
