//! Answers that callers read.

use super::connections::name_of;
use super::{Body, Named, Refusal, Told};
use crate::sim::words::{Call, Offer};
use broker_core::check::Check;

/// The subject of a call in its audit line; `None` for calls that change nothing.
pub(crate) fn subject(call: &Call, told: &Told) -> Option<String> {
    match (call, told) {
        (Call::Create(..), Told::Record(record)) => Some(record.arn.clone()),
        (Call::Create(name, ..), _) => Some(name.clone()),
        (
            Call::Delete(arn, _)
            | Call::Update(arn, ..)
            | Call::Tag(arn, _)
            | Call::Untag(arn, _)
            | Call::UpdateStorage(arn, _),
            _,
        ) => Some(arn.clone()),
        _ => None,
    }
}

/// The names in the line of a call's refusal.
pub(crate) fn named(call: &Call) -> Named {
    Named {
        channel: channel_of(call).map(str::to_owned),
        ..Named::default()
    }
}

/// The name of the channel that a call is about.
pub(crate) fn channel_of(call: &Call) -> Option<&str> {
    match call {
        Call::Create(name, ..) | Call::DescribeName(name) | Call::Storage(name, true) => Some(name),
        Call::DescribeArn(arn)
        | Call::Delete(arn, _)
        | Call::Endpoint(arn)
        | Call::Ice(arn)
        | Call::Update(arn, ..)
        | Call::Tag(arn, _)
        | Call::Untag(arn, _)
        | Call::Tags(arn)
        | Call::Storage(arn, false)
        | Call::UpdateStorage(arn, _)
        | Call::Join(arn, _)
        | Call::Alexa(Offer { arn, .. }) => Some(name_of(arn)),
        Call::List(..) | Call::Mapped | Call::Broken | Call::Missing => None,
    }
}

/// Status, refusal and body.
pub(crate) fn response(call: &Call, told: Told) -> (u16, Option<Refusal>, Body) {
    let exactly = |text: String| (200, None, Body::Exactly(text));
    match (call, told) {
        (_, Told::Fault(status, refusal)) => (status, Some(refusal), Body::Error),
        (Call::Create(..), Told::Record(record)) => {
            exactly(format!(r#"{{"ChannelARN":"{}"}}"#, record.arn))
        }
        (Call::DescribeName(_) | Call::DescribeArn(_), Told::Record(record)) => {
            let status = if record.deleting {
                "DELETING"
            } else {
                "ACTIVE"
            };
            let mut parts = vec![
                format!(r#""ChannelName":"{}""#, record.name),
                format!(r#""ChannelARN":"{}""#, record.arn),
                format!(r#""MessageTtlSeconds":{}"#, record.ttl),
                format!(r#""ChannelStatus":"{status}""#),
            ];
            let version = record.version.as_ref();
            parts.extend(version.map(|version| format!(r#""Version":"{version}""#)));
            (200, None, Body::Holds(parts))
        }
        (Call::Endpoint(_), Told::Record(_)) => {
            let parts = [r#""Protocol":"WSS""#, r#""Protocol":"HTTPS""#];
            (200, None, Body::Holds(parts.map(str::to_owned).into()))
        }
        (Call::Ice(_), Told::Record(_)) => (
            200,
            None,
            Body::Holds(vec![r#"{"IceServerList":[{"#.to_owned()]),
        ),
        (Call::Tags(_), Told::Record(record)) => {
            let tags = record.tags.iter();
            let tags: Vec<String> = tags
                .map(|(key, value)| format!(r#""{key}":"{value}""#))
                .collect();
            exactly(format!(r#"{{"Tags":{{{}}}}}"#, tags.join(",")))
        }
        (Call::Storage(..), Told::Record(_)) => exactly(
            r#"{"MediaStorageConfiguration":{"StreamARN":null,"Status":"DISABLED"}}"#.to_owned(),
        ),
        (Call::UpdateStorage(_, true) | Call::Join(..), Told::Record(_)) => {
            let refusal = Refusal::new(Check::MediaStorageAbsent, "InvalidArgumentException");
            (400, Some(refusal), Body::Error)
        }
        (Call::UpdateStorage(_, false), Told::Record(_))
        | (Call::Delete(..) | Call::Update(..) | Call::Tag(..) | Call::Untag(..), Told::Done) => {
            (200, None, Body::Empty)
        }
        (Call::Mapped, Told::Done) => {
            exactly(r#"{"MappedResourceConfigurationList":[]}"#.to_owned())
        }
        (Call::List(..), Told::Page(names, more)) => (200, None, Body::Names(names, more)),
        (Call::Alexa(_), Told::Answer(answer)) => (200, None, Body::Answer(answer)),
        (call, told) => panic!("{told:?} is no answer to {call:?}"),
    }
}
