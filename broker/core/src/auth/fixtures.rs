//! Principals, roles and sessions for tests.

use crate::auth::principal::{Principal, Role};
use crate::auth::session::{RoleSession, Root, Session, SessionKeyId, SessionScope, Source};
use codec::policy::{Policy, Trust};
use std::sync::Arc;

pub(crate) const ACCOUNT: &str = "123456789012";

pub(crate) fn policies(texts: &[&str]) -> Vec<Arc<Policy>> {
    let read = texts.iter().map(|text| Policy::parse(text).unwrap());
    read.map(Arc::new).collect()
}

/// Creates a principal whose access key id is `AKID` followed by its name.
pub(crate) fn principal(name: &str, texts: &[&str]) -> Principal {
    Principal {
        name: name.into(),
        account: ACCOUNT.into(),
        access_key_id: format!("AKID{name}"),
        secret: "secret".into(),
        policies: policies(texts),
        ..Principal::default()
    }
}

pub(crate) fn role(name: &str, texts: &[&str], trust: &str) -> Role {
    Role {
        name: name.into(),
        account: ACCOUNT.into(),
        policies: policies(texts),
        trust: Trust::parse(trust).unwrap(),
        max_session_s: 7200,
        clock_tolerance_s: None,
    }
}

/// Creates a session of a role without tags, started by the principal `root`.
pub(crate) fn role_session(role: Role) -> RoleSession {
    RoleSession {
        label: format!("{}/s1", role.name),
        name: "s1".into(),
        role: Arc::new(role),
        root: Root::Principal(Arc::new(principal("root", &[]))),
        via: Vec::new(),
        tags: Vec::new(),
        source_identity: None,
    }
}

pub(crate) fn session(source: Source, scope: SessionScope) -> Session {
    Session {
        source,
        scope,
        key_id: SessionKeyId::of("ASIAABCDEFGHIJKLMNOP"),
        issued_s: Some(50),
        expires_s: 1060,
    }
}
