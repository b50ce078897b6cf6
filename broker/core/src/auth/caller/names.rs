//! The names of callers: ARNs and ids.

use crate::auth::caller::{Caller, CallerKind};
use crate::auth::principal::Principal;
use crate::auth::session::{RoleSession, Source};
use aws_lc_rs::digest::{SHA256, digest};
use codec::policy::ShortText;
use data_encoding::BASE32;
use std::fmt::{self, Write};
use std::hash::Hash;

impl Caller {
    /// The identity that tells callers of a channel apart where they share something: the access key id of a
    /// principal; account and name of a federated user or of the session of a role, and its client id, if its policy
    /// lets it connect by one alone.
    /// The holder of a key may choose any other client id, so those count for nothing. `None` for anyone.
    #[must_use]
    pub fn identity(&self) -> Option<impl Hash + '_> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::SigningIn(signing_in) => {
                Some((&*signing_in.account, &*signing_in.label, None))
            }
            CallerKind::Principal(principal) => Some((&*principal.access_key_id, "", None)),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => Some((&*principal.access_key_id, "", None)),
                Source::Federated(..) | Source::Role(_) => {
                    Some((session.account(), session.name(), session.sole_client_id()))
                }
            },
        }
    }

    /// The ARN that refusals and GetCallerIdentity name.
    #[must_use]
    pub fn arn(&self) -> String {
        let mut arn = String::new();
        let _ = self.write_arn(&mut arn); // a String takes all
        arn
    }

    /// The same in place.
    pub(crate) fn short_arn(&self) -> ShortText {
        let mut arn = ShortText::new();
        let _ = self.write_arn(&mut arn); // 175 bytes at most: see the bounds of names
        arn
    }

    fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        match &self.who {
            CallerKind::Anyone(account) => write!(out, "arn:aws:iam::{account}:root"),
            CallerKind::Principal(principal) => principal.write_arn(out),
            CallerKind::Session(session) => session.write_arn(out),
            CallerKind::SigningIn(signing_in) => out.write_str(&signing_in.label),
        }
    }

    /// The ARN of the one who has the rights: of a role's session the role.
    pub(crate) fn short_principal_arn(&self) -> ShortText {
        let Some(session) = self.role() else {
            return self.short_arn();
        };
        let mut arn = ShortText::new();
        let _ = session.role.write_arn(&mut arn); // 95 bytes at most
        arn
    }

    /// The `UserId` of GetCallerIdentity: `AIDA` and 16 characters of a principal, the same for as long as its account
    /// and name are; `<account>:<name>` of a federated user; `AROA` and 16 characters of a role with the session's name
    /// behind a colon; the account of anyone.
    ///
    /// Source: IAM User Guide, "Unique identifiers"; STS API Reference, "GetFederationToken", `FederatedUserId`.
    #[must_use]
    pub fn user_id(&self) -> String {
        self.short_user_id().as_str().to_owned()
    }

    /// The same in place.
    pub(crate) fn short_user_id(&self) -> ShortText {
        let of_principal = |principal: &Principal| {
            let mut room = [0; 16];
            let mut arn = ShortText::new();
            let _ = principal.write_arn(&mut arn); // 95 bytes at most
            let id = unique_id(arn.as_str(), &mut room);
            ShortText::of(format_args!("AIDA{id}"))
        };
        match &self.who {
            CallerKind::Anyone(account) => ShortText::of(format_args!("{account}")),
            CallerKind::SigningIn(_) => ShortText::new(),
            CallerKind::Principal(principal) => of_principal(principal),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => of_principal(principal),
                Source::Federated(parent, name) => {
                    ShortText::of(format_args!("{}:{name}", parent.account))
                }
                Source::Role(RoleSession { role, name, .. }) => {
                    let mut room = [0; 16];
                    let mut arn = ShortText::new();
                    let _ = role.write_arn(&mut arn); // 95 bytes at most
                    let id = unique_id(arn.as_str(), &mut room);
                    ShortText::of(format_args!("AROA{id}:{name}"))
                }
            },
        }
    }
}

/// The ARN of a federated user: the resource of GetFederationToken, and the caller that uses its token.
#[must_use]
pub fn federated_user_arn(account: &str, name: &str) -> String {
    format!("arn:aws:sts::{account}:federated-user/{name}")
}

/// 16 characters that are the same for as long as the ARN is.
pub(crate) fn unique_id<'r>(arn: &str, room: &'r mut [u8; 16]) -> &'r str {
    let hash = digest(&SHA256, arn.as_bytes());
    let (bytes, _) = hash.as_ref().split_first_chunk().unwrap_or((&[0; 10], &[]));
    BASE32.encode_mut(bytes, room);
    std::str::from_utf8(room).unwrap_or_default()
}

/// The id of a role's session: that of the role, a colon and the session's name.
#[must_use]
pub fn assumed_role_id(role_arn: &str, session_name: &str) -> String {
    let mut room = [0; 16];
    format!("AROA{}:{session_name}", unique_id(role_arn, &mut room))
}
