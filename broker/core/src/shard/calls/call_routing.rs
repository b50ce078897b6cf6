//! The course of each API call: the question, the shard that it is for, and the subject of its audit line.

use crate::auth::Caller;
use crate::id::Identity;
use crate::limits::LIST_PAGE_MAX;
use crate::session::http::Expected;
use crate::shard::directory::Directory;
use crate::shard::{Alteration, PageQuestion, QueryKind};
use codec::control::{Call, ListSignalingChannels, Selector};
use codec::identifiers::ChannelArn;

/// The course of a call: the shards that answer it.
pub(crate) enum Course {
    /// By a channel's home.
    QueryHome(Expected, QueryKind),
    /// By every shard: this number of answers makes the page.
    QueryAll(PageQuestion, usize),
    /// At once: there are no streams here, so none stores a channel.
    NoStreams,
}

impl Directory {
    /// The course of a call of this caller.
    pub(crate) fn course(&self, caller: &Caller, call: Call) -> Course {
        let look = |arn: ChannelArn| QueryKind::Look(Identity::of(&arn), Some(arn));
        let select = |channel: Selector| match channel {
            Selector::ByName(name) => QueryKind::Look(self.named(caller, name.as_str()), None),
            Selector::ByArn(arn) => look(arn),
        };
        let change = |arn, alteration| (Expected::Done, QueryKind::Change(arn, alteration));
        let (wanted, ask) = match call {
            Call::List(list) => {
                let question = self.page_question(caller, &list);
                return Course::QueryAll(question, self.parts());
            }
            Call::MappedResource(_) => return Course::NoStreams,
            Call::Create(create) => {
                let identity = self.named(caller, create.name.as_str());
                (Expected::Created, QueryKind::Create(identity, create))
            }
            Call::Describe(describe) => (Expected::Description, select(describe.channel)),
            Call::Update(update) => change(
                update.arn,
                Alteration::Update(update.version, update.ttl_seconds),
            ),
            Call::Delete(delete) => change(delete.arn, Alteration::Delete(delete.version)),
            Call::Tag(tag) => change(tag.arn, Alteration::Tag(tag.tags)),
            Call::Untag(untag) => change(untag.arn, Alteration::Untag(untag.keys)),
            Call::ListTags(tags) => (Expected::Tags, look(tags.arn)),
            Call::Endpoint(endpoint) => (
                Expected::Endpoints(endpoint.protocols, endpoint.role),
                look(endpoint.arn),
            ),
            Call::MediaStorage(storage) => (Expected::MediaStorage, select(storage.channel)),
            Call::UpdateMediaStorage(storage) if storage.enabled => {
                (Expected::NoMediaStorage, look(storage.arn))
            }
            Call::UpdateMediaStorage(storage) => (Expected::Nothing, look(storage.arn)),
            Call::Ice(ice) => (
                Expected::IceServers(ice.credential_name().into()),
                look(ice.arn),
            ),
            Call::Alexa(offer) => {
                let (arn, sender) = (offer.arn, offer.sender.as_str().into());
                let ask = QueryKind::Offer {
                    arn: arn.clone(),
                    sender,
                    payload: offer.payload,
                };
                (Expected::Answer(Identity::of(&arn), false), ask)
            }
            Call::Join(join) => (Expected::NoMediaStorage, look(join.arn)),
            Call::JoinAsViewer(join) => (Expected::NoMediaStorage, look(join.arn)),
        };
        Course::QueryHome(wanted, ask)
    }

    fn page_question(&self, caller: &Caller, list: &ListSignalingChannels) -> PageQuestion {
        let text = |name: &str| self.named(caller, name).as_str().into();
        PageQuestion {
            prefix: text(list.prefix.as_ref().map_or("", |prefix| prefix.as_str())),
            after: list.after.as_ref().map(|after| text(after.as_str())),
            limit: list.entries_max.min(LIST_PAGE_MAX),
        }
    }
}

/// The subject of a call in its audit line; `None` for calls that change nothing.
pub(crate) fn audited(call: &Call) -> Option<&str> {
    match call {
        Call::Create(create) => Some(create.name.as_str()),
        Call::Update(_)
        | Call::Delete(_)
        | Call::Tag(_)
        | Call::Untag(_)
        | Call::UpdateMediaStorage(_) => call.arn().map(ChannelArn::as_str),
        Call::Describe(_)
        | Call::List(_)
        | Call::ListTags(_)
        | Call::Endpoint(_)
        | Call::MediaStorage(_)
        | Call::MappedResource(_)
        | Call::Ice(_)
        | Call::Alexa(_)
        | Call::Join(_)
        | Call::JoinAsViewer(_) => None,
    }
}
