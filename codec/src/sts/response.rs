//! Writes the responses of STS.

use crate::calendar;
use crate::sts::xml;
use std::fmt;

/// Temporary credentials. Debug output hides the secrets.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Access key id: 16 to 128 characters of `[a-zA-Z0-9_]`. The ids of temporary keys start with `ASIA`.
    pub access_key_id: &'a str,
    /// Secret access key.
    pub secret_access_key: &'a str,
    /// Session token, which every request signed with the key must contain.
    pub session_token: &'a str,
    /// Time at which the key expires, in seconds since the epoch.
    pub expires_s: u64,
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("access_key_id", &self.access_key_id)
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}

/// The result of GetFederationToken or AssumeRole: the credentials and their owner.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// The credentials that were issued.
    pub keys: Keys<'a>,
    /// ARN of the owner: `arn:aws:sts::<account>:federated-user/<name>` or `…:assumed-role/<role>/<session>`.
    pub arn: &'a str,
    /// Id of the owner: `<account>:<name>`, or the unique id of the role followed by a colon and the name of the
    /// session.
    pub id: &'a str,
    /// Size of the policies and tags, as a percentage of the maximum: 0 to 100.
    pub packed_policy_percent: u8,
    /// Source identity of the role session, if it has one.
    pub source_identity: Option<&'a str>,
}

/// The result of GetCallerIdentity.
#[derive(Clone, Copy, Debug)]
pub struct CallerIdentity<'a> {
    /// Id of the caller. For a federated user, this is `<account>:<name>`.
    pub user_id: &'a str,
    /// Account id in decimal digits.
    pub account: &'a str,
    /// ARN of the caller.
    pub arn: &'a str,
}

/// Appends the response to GetFederationToken.
pub fn federation_token(out: &mut Vec<u8>, token: &Granted<'_>, request_id: &str) {
    let names = ["GetFederationTokenResponse", "GetFederationTokenResult"];
    answer(out, names, request_id, |out| {
        granted(out, token, ["FederatedUser", "FederatedUserId"]);
    });
}

/// Appends the response to GetSessionToken.
pub fn session_token(out: &mut Vec<u8>, keys: &Keys<'_>, request_id: &str) {
    let names = ["GetSessionTokenResponse", "GetSessionTokenResult"];
    answer(out, names, request_id, |out| credentials(out, keys));
}

/// Appends the response to AssumeRole.
pub fn assumed_role(out: &mut Vec<u8>, role: &Granted<'_>, request_id: &str) {
    let names = ["AssumeRoleResponse", "AssumeRoleResult"];
    answer(out, names, request_id, |out| {
        granted(out, role, ["AssumedRoleUser", "AssumedRoleId"]);
    });
}

/// Claims of an identity provider's token that are part of the response to AssumeRoleWithWebIdentity.
#[derive(Clone, Copy, Debug)]
pub struct WebIdentity<'a> {
    /// The claim `sub`.
    pub subject: &'a str,
    /// Client id for which the token was issued.
    pub audience: &'a str,
    /// The claim `iss`.
    pub provider: &'a str,
}

/// Appends the response to AssumeRoleWithWebIdentity.
pub fn web_identity(out: &mut Vec<u8>, role: &Granted<'_>, identity: &WebIdentity<'_>, id: &str) {
    let names = [
        "AssumeRoleWithWebIdentityResponse",
        "AssumeRoleWithWebIdentityResult",
    ];
    answer(out, names, id, |out| {
        xml::element(out, "SubjectFromWebIdentityToken", identity.subject);
        xml::element(out, "Audience", identity.audience);
        granted(out, role, ["AssumedRoleUser", "AssumedRoleId"]);
        xml::element(out, "Provider", identity.provider);
    });
}

/// Appends the response to GetCallerIdentity.
pub fn caller_identity(out: &mut Vec<u8>, caller: &CallerIdentity<'_>, request_id: &str) {
    let names = ["GetCallerIdentityResponse", "GetCallerIdentityResult"];
    answer(out, names, request_id, |out| {
        xml::element(out, "Arn", caller.arn);
        xml::element(out, "UserId", caller.user_id);
        xml::element(out, "Account", caller.account);
    });
}

fn answer(
    out: &mut Vec<u8>,
    [response, result]: [&'static str; 2],
    request_id: &str,
    write: impl FnOnce(&mut Vec<u8>),
) {
    xml::open_root(out, response);
    xml::open(out, result);
    write(out);
    xml::close(out, result);
    xml::open(out, "ResponseMetadata");
    xml::element(out, "RequestId", request_id);
    xml::close(out, "ResponseMetadata");
    xml::close(out, response);
}

fn granted(out: &mut Vec<u8>, granted: &Granted<'_>, [user, id]: [&'static str; 2]) {
    credentials(out, &granted.keys);
    xml::open(out, user);
    xml::element(out, id, granted.id);
    xml::element(out, "Arn", granted.arn);
    xml::close(out, user);
    let percent = granted.packed_policy_percent.to_string();
    xml::element(out, "PackedPolicySize", &percent);
    if let Some(identity) = granted.source_identity {
        xml::element(out, "SourceIdentity", identity);
    }
}

fn credentials(out: &mut Vec<u8>, keys: &Keys<'_>) {
    xml::open(out, "Credentials");
    xml::element(out, "AccessKeyId", keys.access_key_id);
    xml::element(out, "SecretAccessKey", keys.secret_access_key);
    xml::element(out, "SessionToken", keys.session_token);
    xml::element(out, "Expiration", &moment(keys.expires_s));
    xml::close(out, "Credentials");
}

/// Formats a time given in seconds since the epoch. Times after the year 9999 are clamped to its last second.
fn moment(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(LAST_S).min(LAST_S);
    let (year, month, day) = calendar::civil(seconds / DAY_S);
    let second = seconds % DAY_S;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

const DAY_S: i64 = 24 * 60 * 60;

const LAST_S: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_to_the_second() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_323_045, "2026-01-02T03:04:05Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(moment(seconds), text);
        }
    }
}
