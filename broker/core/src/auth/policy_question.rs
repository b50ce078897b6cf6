//! A question to the policies of a caller, and the values of condition keys that it is answered by.

use crate::auth::caller::Caller;
use crate::auth::sign_in::SignIn;
use codec::control::Tag;
use codec::policy::{Action, Context, Key, KeyName, Request, Value};
use std::net::IpAddr;
use std::sync::Arc;

/// A question to the policies of a caller: may it do this?
#[derive(Clone, Copy, Debug)]
pub struct PolicyQuestion<'a> {
    /// The action.
    pub action: Action,
    /// A channel's ARN (to create it: with `/*` in the place of its time), a federated user's, or `*`.
    pub resource: &'a str,
    /// The client id of a viewer.
    pub client_id: Option<&'a str>,
    /// The tags that the request names.
    pub request_tags: RequestTags<'a>,
    /// The tags of the channel.
    pub resource_tags: ResourceTags<'a>,
    /// The session of a role that the request is for.
    pub assumed: Option<Assumed<'a>>,
}

/// The session of a role that a request is for.
#[derive(Clone, Copy, Debug)]
pub struct Assumed<'a> {
    /// Name of the session.
    pub session_name: &'a str,
    /// The external id.
    pub external_id: Option<&'a str>,
    /// The source identity, if the request names one.
    pub source_identity: Option<&'a str>,
    /// The keys of tags that are to go on.
    pub transitive_tag_keys: &'a [Box<str>],
}

/// The tags that a request names.
#[derive(Clone, Copy, Debug)]
pub enum RequestTags<'a> {
    /// None.
    None,
    /// Tags that the request sets.
    Set(&'a [Tag]),
    /// Keys of tags that the request removes.
    Removed(&'a [Box<str>]),
}

/// The tags of the channel that a request is about.
#[derive(Clone, Copy, Debug)]
pub enum ResourceTags<'a> {
    /// Tags of the channel; none, if there is no channel.
    Known(&'a [Tag]),
    /// The channel lives elsewhere, where the question is asked again.
    Elsewhere,
}

impl<'a> PolicyQuestion<'a> {
    /// A question about something that has no tags.
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

/// Request facts that conditions can test: address, TLS, time, headers.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address of the client.
    pub address: IpAddr,
    /// Whether it speaks TLS to this server.
    pub tls: bool,
    /// The moment of the request, in seconds since 1970 UTC.
    pub asked_s: u64,
    /// Headers that some policy of the caller names.
    pub headers: Option<Arc<OriginHeaders>>,
}

/// Headers of a request that conditions may name.
#[derive(Clone, Debug, Default)]
pub struct OriginHeaders {
    /// User-Agent.
    pub user_agent: Option<Box<str>>,
    /// Referer.
    pub referer: Option<Box<str>>,
}

/// A caller with its question: the values of condition keys.
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) question: &'a PolicyQuestion<'a>,
}

impl Asked<'_> {
    /// A value of keys that have one at most.
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
            // Nobody has these before the sign-in.
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
            // Sign-ins answer these, policies have these themselves, or they have several values.
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

impl<'a> Asked<'a> {
    /// The question with these values.
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

impl Context for Asked<'_> {
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        match (key.name, nth) {
            (KeyName::TagKeys, nth) => match self.question.request_tags {
                RequestTags::None => Value::Absent,
                RequestTags::Set(tags) => tags
                    .get(nth)
                    .map_or(Value::Absent, |tag| Value::Text(&tag.key)),
                RequestTags::Removed(keys) => {
                    keys.get(nth).map_or(Value::Absent, |key| Value::Text(key))
                }
            },
            (KeyName::TransitiveTagKeys, nth) => {
                let keys = self.assumed(|assumed| assumed.transitive_tag_keys.get(nth));
                keys.map_or(Value::Absent, |key| Value::Text(key))
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

/// The value of a tag. Source: IAM User Guide, "AWS global condition context keys": keys of tags are compared without
/// regard to case. A channel may have several that differ in nothing else: then none of them opens anything, and each
/// may deny, or a caller that adds a second one would choose which counts.
fn tag<'t>(tags: &'t [Tag], key: &str) -> Value<'t> {
    let mut found = tags.iter().filter(|tag| tag.key.eq_ignore_ascii_case(key));
    match (found.next(), found.next()) {
        (None, _) => Value::Absent,
        (Some(tag), None) => Value::Text(&tag.value),
        (Some(_), Some(_)) => Value::Lost,
    }
}
