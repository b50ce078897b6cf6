//! Authorization questions that a caller's policies answer, and the values of condition keys.

use crate::auth::caller::Caller;
use crate::auth::sign_in::SignIn;
use crate::machine::Peer;
use codec::control::Tag;
use codec::policy::{Action, Context, Key, KeyName, Request, Value};
use std::net::IpAddr;
use std::sync::Arc;

/// An authorization question: may the caller perform this action?
#[derive(Clone, Copy, Debug)]
pub struct PolicyQuestion<'a> {
    /// The requested action.
    pub action: Action,
    /// The ARN of a channel or of a federated user, or `*`. The ARN of a channel that does not exist yet has `/*` in
    /// place of the creation time.
    pub resource: &'a str,
    /// Client id of the viewer, if there is one.
    pub client_id: Option<&'a str>,
    /// Tags in the request.
    pub request_tags: RequestTags<'a>,
    /// Tags of the channel.
    pub resource_tags: ResourceTags<'a>,
    /// The requested role session, if the request asks for one.
    pub assumed: Option<Assumed<'a>>,
}

/// The role session that a request asks to start.
#[derive(Clone, Copy, Debug)]
pub struct Assumed<'a> {
    /// Name of the session.
    pub session_name: &'a str,
    /// External id, if the request contains one.
    pub external_id: Option<&'a str>,
    /// Source identity, if the request contains one.
    pub source_identity: Option<&'a str>,
    /// Keys of the tags that are marked as transitive.
    pub transitive_tag_keys: &'a [Box<str>],
}

/// Tags in a request.
#[derive(Clone, Copy, Debug)]
pub enum RequestTags<'a> {
    /// The request contains no tags.
    None,
    /// Tags to set.
    Set(&'a [Tag]),
    /// Keys of tags to remove.
    Removed(&'a [Box<str>]),
}

/// Tags of the requested channel.
#[derive(Clone, Copy, Debug)]
pub enum ResourceTags<'a> {
    /// The tags are known; empty if the channel does not exist.
    Known(&'a [Tag]),
    /// The tags are not known, because the channel belongs to another shard. That shard evaluates the policies again.
    Elsewhere,
}

impl<'a> PolicyQuestion<'a> {
    /// Creates a question about a resource without tags.
    #[must_use]
    pub const fn new(action: Action, resource: &'a str) -> Self {
        Self {
            action,
            resource,
            client_id: None,
            request_tags: RequestTags::None,
            resource_tags: ResourceTags::Known(&[]),
            assumed: None,
        }
    }
}

/// Properties of a request that conditions can test: address, TLS, time and headers.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Address of the client.
    pub address: IpAddr,
    /// Whether the client connected over TLS.
    pub tls: bool,
    /// Time of the request, in seconds since 1970 UTC.
    pub asked_s: u64,
    /// Headers that the caller's policies test.
    pub headers: Option<Arc<OriginHeaders>>,
}

impl Origin {
    /// Creates the origin of a request without headers. `asked_s` is in seconds since 1970 UTC.
    #[must_use]
    pub fn of(peer: Peer, asked_s: u64) -> Self {
        Self {
            address: peer.remote.ip().to_canonical(),
            tls: peer.tls,
            asked_s,
            headers: None,
        }
    }
}

/// Request headers that conditions can test.
#[derive(Clone, Debug, Default)]
pub struct OriginHeaders {
    /// The `User-Agent` header.
    pub user_agent: Option<Box<str>>,
    /// The `Referer` header.
    pub referer: Option<Box<str>>,
}

pub(crate) struct CallerQuestion<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) question: &'a PolicyQuestion<'a>,
}

impl CallerQuestion<'_> {
    fn sole(&self, key: Key<'_>) -> Value<'_> {
        let (caller, origin) = (self.caller, self.caller.origin());
        let of_origin =
            |value: &dyn Fn(&Origin) -> Value<'static>| origin.map_or(Value::Absent, value);
        let headers = origin.and_then(|origin| origin.headers.as_deref());
        match key.name {
            KeyName::CurrentTime => of_origin(&|origin| Value::Date(origin.asked_s)),
            KeyName::EpochTime => of_origin(&|origin| Value::Number(origin.asked_s)),
            KeyName::SourceIp => of_origin(&|origin| Value::Address(origin.address)),
            KeyName::SecureTransport => of_origin(&|origin| Value::Flag(origin.tls)),
            KeyName::RequestedRegion => Value::of(caller.region()),
            KeyName::UserAgent => {
                Value::of(headers.and_then(|headers| headers.user_agent.as_deref()))
            }
            KeyName::Referer => Value::of(headers.and_then(|headers| headers.referer.as_deref())),
            KeyName::UserName => Value::of(caller.user_name()),
            // These values are unknown until the sign-in completes.
            KeyName::UserId | KeyName::PrincipalArn if caller.signs_in() => Value::Absent,
            KeyName::UserId => Value::Made(caller.short_user_id()),
            KeyName::PrincipalArn => Value::Made(caller.short_principal_arn()),
            KeyName::PrincipalAccount => Value::Text(caller.account()),
            KeyName::PrincipalType => Value::Text(caller.kind()),
            KeyName::PrincipalIsAwsService => {
                Value::Flag(matches!(caller.signing_in_by(), Some(SignIn::Thing(_))))
            }
            KeyName::RequestTag => match self.question.request_tags {
                RequestTags::Set(tags) => tag(tags, key.detail),
                RequestTags::None | RequestTags::Removed(_) => Value::Absent,
            },
            KeyName::ResourceTag => match self.question.resource_tags {
                ResourceTags::Known(tags) => tag(tags, key.detail),
                ResourceTags::Elsewhere => Value::Unknown,
            },
            KeyName::TokenIssueTime => caller.issued_s().map_or(Value::Absent, Value::Date),
            KeyName::PrincipalTag => {
                let mut tags = caller.tags().iter();
                let tag = tags.find(|tag| tag.key.eq_ignore_ascii_case(key.detail));
                tag.map_or(Value::Absent, |tag| Value::Text(&tag.value))
            }
            KeyName::SourceIdentity => Value::of(caller.source_identity()),
            KeyName::RoleSessionName => {
                Value::of(self.assumed(|assumed| Some(assumed.session_name)))
            }
            KeyName::ExternalId => Value::of(self.assumed(|assumed| assumed.external_id)),
            KeyName::RequestedSourceIdentity => {
                Value::of(self.assumed(|assumed| assumed.source_identity))
            }
            KeyName::SourceArn => caller.source_arn().map_or(Value::Absent, Value::Made),
            KeyName::SourceAccount => {
                let signing_in = caller.source_arn();
                Value::of(signing_in.map(|_| caller.account()))
            }
            // Values from sign-ins and policies, and the values of multi-valued keys, are provided by other code.
            KeyName::FederatedProvider
            | KeyName::ThingName
            | KeyName::ThingTypeName
            | KeyName::AwsCertificateId
            | KeyName::Claim
            | KeyName::ClientId
            | KeyName::Foreign
            | KeyName::TagKeys
            | KeyName::TransitiveTagKeys => Value::Absent,
        }
    }
}

impl<'a> CallerQuestion<'a> {
    pub(crate) const fn request(&'a self) -> Request<'a> {
        Request {
            action: self.question.action,
            resource: self.question.resource,
            client_id: self.question.client_id,
            context: self,
        }
    }

    fn assumed<T>(&self, part: impl FnOnce(Assumed<'a>) -> Option<T>) -> Option<T> {
        self.question.assumed.and_then(part)
    }
}

impl Context for CallerQuestion<'_> {
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        match (key.name, nth) {
            (KeyName::TagKeys, nth) => match self.question.request_tags {
                RequestTags::None => Value::Absent,
                RequestTags::Set(tags) => Value::of(tags.get(nth).map(|tag| &*tag.key)),
                RequestTags::Removed(keys) => Value::of(keys.get(nth).map(|key| &**key)),
            },
            (KeyName::TransitiveTagKeys, nth) => {
                let keys = self.assumed(|assumed| assumed.transitive_tag_keys.get(nth));
                Value::of(keys.map(|key| &**key))
            }
            (
                KeyName::Claim
                | KeyName::FederatedProvider
                | KeyName::ThingName
                | KeyName::ThingTypeName
                | KeyName::AwsCertificateId,
                nth,
            ) => {
                let sign_in = self.caller.sign_in();
                sign_in.map_or(Value::Absent, |sign_in| sign_in.value(key, nth))
            }
            (_, 0) => self.sole(key),
            _ => Value::Absent,
        }
    }
}

/// Returns the value of a tag. Keys are case-insensitive. Source: IAM User Guide, "AWS global condition context keys".
///
/// If several keys differ only in case, none of them satisfies an allow statement and each satisfies a deny statement.
/// Otherwise, a caller could choose which value applies by adding another key.
fn tag<'t>(tags: &'t [Tag], key: &str) -> Value<'t> {
    let mut found = tags.iter().filter(|tag| tag.key.eq_ignore_ascii_case(key));
    match (found.next(), found.next()) {
        (None, _) => Value::Absent,
        (Some(tag), None) => Value::Text(&tag.value),
        (Some(_), Some(_)) => Value::Lost,
    }
}
