//! Writes the responses of STS, as XML without white space.

use crate::calendar::WholeSeconds;
use crate::sts::VERSION;
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
    /// Id of the owner: `<account>:<name>`, or the role's unique id followed by a colon and the session name.
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

/// Identity provider token claims that are part of the response to AssumeRoleWithWebIdentity.
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
        element(out, "SubjectFromWebIdentityToken", identity.subject);
        element(out, "Audience", identity.audience);
        granted(out, role, ["AssumedRoleUser", "AssumedRoleId"]);
        element(out, "Provider", identity.provider);
    });
}

/// Appends the response to GetCallerIdentity.
pub fn caller_identity(out: &mut Vec<u8>, caller: &CallerIdentity<'_>, request_id: &str) {
    let names = ["GetCallerIdentityResponse", "GetCallerIdentityResult"];
    answer(out, names, request_id, |out| {
        element(out, "Arn", caller.arn);
        element(out, "UserId", caller.user_id);
        element(out, "Account", caller.account);
    });
}

fn answer(
    out: &mut Vec<u8>,
    [response, result]: [&'static str; 2],
    request_id: &str,
    write: impl FnOnce(&mut Vec<u8>),
) {
    open_root(out, response);
    open(out, result);
    write(out);
    close(out, result);
    open(out, "ResponseMetadata");
    element(out, "RequestId", request_id);
    close(out, "ResponseMetadata");
    close(out, response);
}

fn granted(out: &mut Vec<u8>, granted: &Granted<'_>, [user, id]: [&'static str; 2]) {
    credentials(out, &granted.keys);
    open(out, user);
    element(out, id, granted.id);
    element(out, "Arn", granted.arn);
    close(out, user);
    let percent = granted.packed_policy_percent.to_string();
    element(out, "PackedPolicySize", &percent);
    if let Some(identity) = granted.source_identity {
        element(out, "SourceIdentity", identity);
    }
}

fn credentials(out: &mut Vec<u8>, keys: &Keys<'_>) {
    open(out, "Credentials");
    element(out, "AccessKeyId", keys.access_key_id);
    element(out, "SecretAccessKey", keys.secret_access_key);
    element(out, "SessionToken", keys.session_token);
    element(
        out,
        "Expiration",
        &format!("{}Z", WholeSeconds(keys.expires_s)),
    );
    close(out, "Credentials");
}

pub(crate) fn open_root(out: &mut Vec<u8>, name: &'static str) {
    out.extend(format!("<{name} xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\">").into_bytes());
}

pub(crate) fn open(out: &mut Vec<u8>, name: &'static str) {
    out.extend(format!("<{name}>").into_bytes());
}

pub(crate) fn close(out: &mut Vec<u8>, name: &'static str) {
    out.extend(format!("</{name}>").into_bytes());
}

pub(crate) fn element(out: &mut Vec<u8>, name: &'static str, value: &str) {
    open(out, name);
    text(out, value);
    close(out, name);
}

/// Appends text. Characters that XML 1.0 cannot represent (section 2.2) are replaced with U+FFFD. Carriage returns are
/// escaped, because parsers would convert them to line feeds (section 2.11).
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    let mut utf8 = [0; 4];
    for char in value.chars() {
        let spelled = match char {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&apos;",
            '\r' => "&#13;",
            '\t' | '\n' => char.encode_utf8(&mut utf8),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => "\u{fffd}",
            _ => char.encode_utf8(&mut utf8),
        };
        out.extend_from_slice(spelled.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut out = Vec::new();
        element(
            &mut out,
            "A",
            "<a b='c'>\"&amp;\r\n\t\0\u{1f}\u{fffe}\u{7f}é😀]]>",
        );
        let expected = "<A>&lt;a b=&apos;c&apos;&gt;&quot;&amp;amp;&#13;\n\t\u{fffd}\u{fffd}\u{fffd}\u{7f}é😀]]&gt;</A>";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
