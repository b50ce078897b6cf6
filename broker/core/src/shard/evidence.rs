//! Everything known about a refused request, for the log: its parameters, signer and time, and the strings from which
//! its signature was computed.
//!
//! [`Evidence`] only borrows this data, so nothing is copied for requests that succeed.

use crate::auth::{Authenticator, Caller, SignIn, certificate_id};
use crate::event::Purpose;
use crate::id::{Account, SessionKey};
use crate::journal::{AuditCaller, EXPLAINED_BYTES_MAX, Explain, NAMED_CHARS_MAX, Presented};
use crate::session::http::{Admission, PendingCall};
use crate::settings::Settings;
use codec::http::{Head, decode, pairs};
use codec::identifiers::ChannelArn;
use codec::limits::beginning;
use codec::sigv4::{Parameter, Stamp};
use codec::whep;
use std::borrow::Cow;

/// Everything known about a refused request, and how to respond to it.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    /// The connection on which the request arrived.
    pub(crate) key: SessionKey,
    /// The purpose of the request, under which the response is counted.
    pub(crate) purpose: Purpose,
    /// Whether to close the connection after the response.
    pub(crate) close: bool,
    /// The request id for the response, if one has already been generated.
    pub(crate) id: Option<&'a str>,
    /// The name of the channel, if it was parsed.
    pub(crate) channel: Option<&'a str>,
    pub(crate) channel_account: Option<Account>,
    /// The client id of the viewer, if it was parsed.
    pub(crate) client_id: Option<&'a str>,
    /// The session name in a request for temporary credentials.
    pub(crate) session: Option<&'a str>,
    /// The ARN of the requested role.
    pub(crate) role: Option<&'a str>,
    /// The credentials with which the caller signed in: a certificate and thing, or a token. Not verified.
    pub(crate) shown: Shown<'a>,
    /// The caller, if the request's signature is valid.
    pub(crate) caller: Option<&'a Caller>,
    /// The request head, as long as it is available.
    pub(crate) head: Option<&'a Head<'a>>,
    /// The number of the injected fault that caused the refusal.
    pub(crate) fault: Option<u64>,
    /// Whether the refusal was caused by the last signature check on this shard.
    pub(crate) by_signature: bool,
}

/// The credentials with which a caller signed in. They may not have been verified.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shown<'a> {
    /// Fingerprint of the client certificate.
    pub(crate) certificate: Option<&'a [u8; 32]>,
    /// Thing name given in the request.
    pub(crate) thing: Option<&'a str>,
    /// Issuer of the token.
    pub(crate) issuer: Option<&'a str>,
    /// Subject of the token.
    pub(crate) subject: Option<&'a str>,
}

impl<'a> Shown<'a> {
    /// Returns the credentials with which a caller signed in, even if the caller now uses a session derived from that
    /// sign-in. Returns `None` for callers that did not sign in.
    fn of(caller: &'a Caller) -> Option<Self> {
        Some(match caller.sign_in()? {
            SignIn::Thing(identity) => Self {
                certificate: Some(&identity.certificate),
                thing: identity.name.as_deref(),
                ..Self::default()
            },
            SignIn::Web(identity) => Self {
                issuer: Some(&identity.provider),
                subject: Some(&identity.subject),
                ..Self::default()
            },
        })
    }

    /// Converts the credentials to the form used in log lines.
    fn presented(self) -> Presented {
        let text = |text: Option<&str>| text.map(named);
        Presented {
            certificate: self.certificate.map(|it| certificate_id(it).into()),
            thing: text(self.thing),
            issuer: text(self.issuer),
            subject: text(self.subject),
            role: None,
        }
    }
}

/// Converts a caller to the form used in audit entries. Returns `None` if requests are not signed.
pub(crate) fn audit_caller(caller: &Caller) -> Option<Box<AuditCaller>> {
    caller.is_known().then(|| {
        Box::new(AuditCaller {
            name: caller.name().into(),
            account: caller.account().into(),
            key_id: caller.access_key_id().map(Into::into),
            source_identity: caller.source_identity().map(Into::into),
            sign_in: Shown::of(caller).unwrap_or_default().presented(),
        })
    })
}

/// The strings and keys used to check a signature.
#[derive(Clone, Copy)]
pub(crate) struct SignatureEvidence<'a> {
    pub(crate) authenticator: &'a Authenticator,
    /// The canonical request. Empty if the check failed before it was built.
    pub(crate) canonical_request: &'a [u8],
    pub(crate) string_to_sign: &'a [u8],
}

impl SignatureEvidence<'_> {
    /// Finds the part of a request that differs from what the client signed. Takes the same steps whether or not the
    /// key exists.
    pub(crate) fn signed_as(
        &self,
        head: Option<&Head<'_>>,
        settings: &Settings,
    ) -> Option<Box<str>> {
        let forwarded = head.and_then(|head| head.header("x-forwarded-host"));
        let advertise = &settings.advertise;
        let own = [&advertise.wss, &advertise.https].into_iter().flatten();
        let own = own.filter_map(|url| Some(url.split_once("://")?.1));
        let hosts: Vec<&str> = forwarded.into_iter().chain(own).collect();
        let signed = self.authenticator.signed_as(&hosts)?;
        Some(limited(&signed.to_string()).into())
    }

    /// Returns the strings against which the signature was checked, in the form used in log lines.
    pub(crate) fn explain(&self) -> Option<Box<Explain>> {
        if self.canonical_request.is_empty() {
            return None;
        }
        let scope = self.string_to_sign.split(|byte| *byte == b'\n').nth(2);
        Some(Box::new(Explain {
            canonical_request: shown(self.canonical_request),
            scope: limited(&String::from_utf8_lossy(scope.unwrap_or_default())).into(),
        }))
    }
}

/// The unverified claims in a request's head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claimed<'a> {
    pub(crate) channel: Option<Cow<'a, str>>,
    pub(crate) channel_account: Option<Account>,
    pub(crate) client_id: Option<Cow<'a, str>>,
    pub(crate) key_id: Option<Cow<'a, str>>,
    pub(crate) signed: Option<Stamp>,
    pub(crate) user_agent: Option<&'a str>,
}

impl<'a> Evidence<'a> {
    /// Creates evidence for a request about which nothing else is known. The connection closes after the response.
    pub(crate) fn of(key: SessionKey, purpose: Purpose) -> Self {
        Self {
            key,
            purpose,
            close: true,
            id: None,
            channel: None,
            channel_account: None,
            client_id: None,
            session: None,
            role: None,
            shown: Shown::default(),
            caller: None,
            head: None,
            fault: None,
            by_signature: false,
        }
    }

    /// Creates evidence for a request of which only the head has been read.
    pub(crate) fn of_head(key: SessionKey, purpose: Purpose, head: &'a Head<'a>) -> Self {
        Self {
            head: Some(head),
            ..Self::of(key, purpose)
        }
    }

    /// Creates evidence for a request that failed the shard's last signature check.
    pub(crate) fn of_signature(key: SessionKey, of: Purpose, head: Option<&'a Head<'a>>) -> Self {
        Self {
            head,
            by_signature: true,
            ..Self::of(key, of)
        }
    }

    /// Creates evidence for a parsed upgrade.
    pub(crate) fn of_admission(key: SessionKey, admission: &'a Admission) -> Self {
        Self {
            channel: Some(admission.arn.name()),
            channel_account: Some(Account::of(&admission.arn)),
            client_id: admission.client_id.as_deref(),
            caller: Some(&admission.caller),
            ..Self::of(key, admission.purpose())
        }
    }

    /// Creates evidence for a parsed call.
    pub(crate) fn of_call(key: SessionKey, call: &'a PendingCall) -> Self {
        Self {
            close: call.close,
            channel: call.channel.as_deref(),
            caller: Some(&call.caller),
            ..Self::of(key, Purpose::Api(call.operation))
        }
    }

    /// Returns the claims in the request head. Verified facts, if known, replace the corresponding claims.
    pub(crate) fn claimed(&self) -> Claimed<'a> {
        let mut claimed = self.head.map(Claimed::of).unwrap_or_default();
        if let Some(channel) = self.channel {
            claimed.channel = Some(channel.into());
        }
        if let Some(client_id) = self.client_id {
            claimed.client_id = Some(client_id.into());
        }
        if let Some(key_id) = self.caller.and_then(Caller::access_key_id) {
            claimed.key_id = Some(key_id.into());
        }
        let of_caller = || Some(Account::of_digits(self.caller?.account()));
        let of_channel = self.channel_account.or(claimed.channel_account);
        claimed.channel_account = of_channel.or_else(of_caller);
        claimed
    }

    /// Returns the account and source identity of the verified caller.
    pub(crate) fn signer(&self) -> (Option<&'a str>, Option<&'a str>) {
        let known = self.caller.filter(|caller| caller.is_known());
        let source_identity = known.and_then(Caller::source_identity);
        (known.map(Caller::account), source_identity)
    }

    /// Returns the name of the principal that signed the request. If the caller is not known, returns the principal
    /// that owns the `key_id` key.
    pub(crate) fn principal<'s>(
        &self,
        key_id: Option<&str>,
        signature: Option<&SignatureEvidence<'s>>,
    ) -> Option<&'s str>
    where
        'a: 's,
    {
        let known = self.caller.filter(|caller| caller.is_known());
        let named = || {
            let credentials = signature?.authenticator.credentials();
            credentials.find(key_id?).map(|owner| owner.name.as_str())
        };
        known.map(Caller::name).or_else(named)
    }

    /// Returns the credentials with which the caller signed in, and the role that it requested. The credentials may not
    /// have been verified.
    pub(crate) fn presented(&self) -> Option<Box<Presented>> {
        let shown = self.caller.and_then(Shown::of).unwrap_or(self.shown);
        let presented = Presented {
            role: self.role.map(named),
            ..shown.presented()
        };
        (presented != Presented::default()).then(|| Box::new(presented))
    }
}

impl<'a> Claimed<'a> {
    fn of(head: &'a Head<'a>) -> Self {
        let mut claimed = Self {
            user_agent: head.header("user-agent"),
            ..Self::default()
        };
        let bearer = whep::bearer(head);
        let of_player = bearer.filter(|_| head.path().starts_with(whep::PATH));
        for (name, value) in pairs(of_player.or_else(|| head.query()).unwrap_or_default()) {
            let Ok(name) = decode(name) else { continue };
            let value = decode(value).unwrap_or(Cow::Borrowed(value));
            match Parameter::of(name.as_bytes()) {
                Some(Parameter::ChannelArn) => match ChannelArn::parse(&value, false) {
                    Ok(arn) => {
                        claimed.channel = Some(arn.name().to_owned().into());
                        claimed.channel_account = Some(Account::of(&arn));
                    }
                    Err(_) => claimed.channel = Some(value),
                },
                Some(Parameter::ClientId) => claimed.client_id = Some(value),
                Some(Parameter::Credential) => claimed.key_id = Some(before_slash(value)),
                Some(Parameter::Date) => claimed.signed = Stamp::parse(value.as_bytes()),
                _ => {}
            }
        }
        if let Some(authorization) = head.header("authorization").filter(|_| bearer.is_none()) {
            let credential = authorization.split_once("Credential=");
            let key_id = credential.and_then(|(_, rest)| rest.split(['/', ',', ' ']).next());
            claimed.key_id = key_id.map(Cow::Borrowed);
            let date = head.header("x-amz-date").or_else(|| head.header("date"));
            claimed.signed = date.and_then(|date| Stamp::parse_date_header(date.as_bytes()));
        }
        claimed
    }
}

fn before_slash(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.find('/') {
        Some(end) => Cow::Owned(text.get(..end).unwrap_or_default().to_owned()),
        None => text,
    }
}

/// Truncates a string from the request to the number of characters that may be logged.
pub(crate) fn named(text: &str) -> Box<str> {
    let end = text.char_indices().nth(NAMED_CHARS_MAX);
    let end = end.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default().into()
}

/// Formats a canonical request for operators. Truncates each secret in it, and then the result as a whole.
fn shown(canonical_request: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(canonical_request);
    let mut out = String::with_capacity(text.len().min(EXPLAINED_BYTES_MAX));
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if number == QUERY_LINE {
            for (number, pair) in line.split('&').enumerate() {
                if number > 0 {
                    out.push('&');
                }
                push_cut(&mut out, pair, '=');
            }
        } else {
            push_cut(&mut out, line, ':');
        }
    }
    limited(&out).into()
}

/// Appends a name and its value, truncating the value if it is a secret.
fn push_cut(out: &mut String, pair: &str, between: char) {
    let name_and_value = pair.split_once(between);
    let secret = name_and_value.filter(|(name, _)| {
        let name = decode(name).unwrap_or(Cow::Borrowed(name));
        SECRET
            .iter()
            .any(|secret| secret.eq_ignore_ascii_case(&name))
    });
    let Some((name, value)) = secret else {
        return out.push_str(pair);
    };
    out.push_str(name);
    out.push(between);
    let end = value.char_indices().nth(SECRET_CHARS_SHOWN);
    let shown = end.and_then(|(end, _)| value.get(..end));
    out.push_str(shown.unwrap_or(value));
    if shown.is_some() {
        out.push('…');
    }
}

/// Truncates a string to the maximum length for log lines.
fn limited(text: &str) -> &str {
    beginning(text, EXPLAINED_BYTES_MAX)
}

/// Names of parameters and headers whose values are secret and must be truncated.
const SECRET: [&str; 6] = [
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "X-Api-Key",
];

/// Number of characters of a secret to show: enough to tell two secrets apart, too few to use one.
const SECRET_CHARS_SHOWN: usize = 8;

/// Index of the query string among the lines of a canonical request, after the method and the path.
const QUERY_LINE: usize = 2;

#[cfg(test)]
mod evidence_tests {
    use super::*;
    use codec::http::HeadLimits;

    fn claimed(lines: &str) -> (Option<String>, Option<String>, Option<String>, Option<i64>) {
        let text = format!("{lines}\r\n\r\n");
        let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        let claimed = Evidence::of_head(SessionKey::unpack(0), Purpose::Unknown, &head).claimed();
        let text = |part: Option<Cow<'_, str>>| part.map(Cow::into_owned);
        let signed = claimed.signed.map(Stamp::epoch);
        (
            text(claimed.channel),
            text(claimed.client_id),
            text(claimed.key_id),
            signed,
        )
    }

    #[test]
    fn heads_are_read_as_far_as_they_go() {
        let some = |text: &str| Some(text.to_owned());
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fcam-1%2F17";
        let url = format!(
            "GET /?X-Amz-ChannelARN={arn}&X-Amz-ClientId=v%2D1&X-Amz-Credential=AKID%2F2026&\
             X-Amz-Date=20260102T030405Z HTTP/1.1\r\nHost: h"
        );
        let signed = Some(1_767_323_045);
        assert_eq!(
            claimed(&url),
            (some("cam-1"), some("v-1"), some("AKID"), signed)
        );
        let call = "POST /x HTTP/1.1\r\nHost: h\r\nX-Amz-Date: 20260102T030405Z\r\n\
                    Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260102/r/s/t, SignedHeaders=host";
        assert_eq!(claimed(call), (None, None, some("AKID"), signed));
        let odd = "GET /?X-Amz-ChannelARN=%zz&%zz=1&X-Amz-Date=x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x";
        assert_eq!(claimed(odd), (some("%zz"), None, None, None));
        let player = "POST /whep/c?X-Amz-ClientId=v HTTP/1.1\r\nHost: h\r\n\
                      Authorization: Bearer X-Amz-ClientId=w&X-Amz-Credential=AKID%2F2026&X-Amz-Signature=00";
        assert_eq!(claimed(player), (None, some("w"), some("AKID"), None));
        let date = "GET / HTTP/1.1\r\nHost: h\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT";
        assert_eq!(claimed(date), (None, None, None, None), "it is not signed");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(named(&"ä".repeat(300)).chars().count(), NAMED_CHARS_MAX);
        assert_eq!(&*named("v1"), "v1");
    }

    #[test]
    fn a_canonical_request_is_shown_without_its_secrets() {
        let token = "Secret00Token".repeat(100);
        let canonical = format!(
            "GET\n/\nX-Amz-ChannelARN=a&X-Amz-Security-Token={token}&x-amz-signature=0123456789ab&b=1\n\
             host:h:1\ncookie:session=0123456789\nx-amz-security-token:{token}\nauthorization:AWS4-HMAC short\n\n\
             host\ne3b0"
        );
        assert_eq!(
            &*shown(canonical.as_bytes()),
            "GET\n/\nX-Amz-ChannelARN=a&X-Amz-Security-Token=Secret00…&x-amz-signature=01234567…&b=1\n\
             host:h:1\ncookie:session=…\nx-amz-security-token:Secret00…\nauthorization:AWS4-HMA…\n\nhost\ne3b0"
        );
        let long = format!("GET\n/\n{}\nhost:h", "ä".repeat(3000));
        let text = shown(long.as_bytes());
        assert!(text.len() <= EXPLAINED_BYTES_MAX && text.len() > EXPLAINED_BYTES_MAX - 3);
        let cut_late = format!("GET\n/{}\nX-Amz-Security-Token={token}", "p".repeat(2030));
        assert!(
            !shown(cut_late.as_bytes()).contains("Token0"),
            "cut first, then shortened"
        );
        assert_eq!(&*shown(b"\xff"), "\u{fffd}");
    }
}
