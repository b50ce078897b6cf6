//! The copies that are made of messages, for tests of clients: under `--dev` only.

use crate::channel::Towards;
use crate::channel::pending::Message;
use crate::id::{ChannelKey, SessionKey};
use crate::shard::QueryKind;
use crate::shard::dev::capture::{Captured, Fate};
use crate::shard::dev::own::Own;
use crate::shard::directory::Directory;
use crate::shard::road::passing::Passing;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Todo, TodoList};
use crate::time::Moment;
use codec::base64;
use codec::identifiers::ChannelArn;
use codec::signal::{Action, Delivery, Request};

/// A copy except its channel's name.
struct CopySource<'a> {
    towards: Option<Towards>,
    viewer: &'a str,
    action: Option<Action>,
    payload: &'a [u8],
    fate: Fate,
}

impl CopySource<'_> {
    fn of_channel(&self, name: &str, at: Moment) -> Captured {
        Captured {
            at: at.wall,
            channel: name.into(),
            towards: self.towards,
            viewer: self.viewer.into(),
            action: self.action,
            payload: base64::text(self.payload).into(),
            fate: self.fate,
        }
    }
}

impl Sockets {
    /// Hands a copy over, if copies are taken.
    fn copy(&mut self, copy: impl FnOnce() -> Captured, at: Moment) {
        if let Some(copies) = &mut self.dev_mut().copies {
            copies.take(copy, at);
        }
    }
}

impl Passing<'_> {
    /// Hands a copy over, once it is known what becomes of the message. `channel`: its channel's name.
    pub(crate) fn copy(&self, sockets: &mut Sockets, channel: &str, fate: Fate, at: Moment) {
        let (towards, viewer) = match self.delivery.sender {
            Some(viewer) => (Towards::Master, viewer),
            None => (Towards::Viewer, self.recipient),
        };
        let source = CopySource {
            towards: Some(towards),
            viewer,
            action: Some(self.launch.action),
            payload: self.delivery.payload,
            fate,
        };
        sockets.copy(|| source.of_channel(channel, at), at);
    }
}

/// Hands over another copy of a message that was kept, which a fault drops in place of its delivery.
pub(crate) fn copy_dropped(
    sockets: &mut Sockets,
    (channel, towards, viewer): (&str, Towards, &str),
    message: &Message,
    at: Moment,
) {
    let source = CopySource {
        towards: Some(towards),
        viewer,
        action: Some(message.action),
        payload: Delivery::payload_of(&message.frame),
        fate: Fate::Dropped,
    };
    sockets.copy(|| source.of_channel(channel, at), at);
}

/// Leaves a copy of what went nowhere: too much of it, or not understood. The shard knows the channel's name.
#[cold]
pub(crate) fn copy_refused(
    sockets: &mut Sockets,
    todo: &mut TodoList,
    from: SessionKey,
    request: Option<&Request<'_>>,
    at: Moment,
) {
    if sockets.dev().copies.is_none() {
        return;
    }
    let Some(web_socket) = sockets.web_socket(from) else {
        return;
    };
    let source = CopySource {
        towards: None,
        viewer: web_socket.role.client_id().unwrap_or_default(),
        action: request.map(|request| request.action),
        payload: request.map_or(&[], |request| request.payload),
        fate: request.map_or(Fate::Refused, |_| Fate::Throttled),
    };
    let copy = Own::Copy(web_socket.channel, source.of_channel("", at));
    todo.push(Todo::Double(Box::new(copy)));
}

/// The offer of an Alexa call that asks to be taken in, and the older one of its sender.
pub(crate) struct OfferCopy {
    arn: ChannelArn,
    sender: Box<str>,
    payload: Box<str>,
    older: Option<u64>,
}

impl OfferCopy {
    /// That of a question, if copies are taken.
    pub(crate) fn of(sockets: &Sockets, directory: &Directory, kind: &QueryKind) -> Option<Self> {
        let QueryKind::Offer {
            arn,
            sender,
            payload,
        } = kind
        else {
            return None;
        };
        sockets.dev().copies.as_ref()?;
        Some(Self {
            arn: arn.clone(),
            sender: sender.clone(),
            payload: payload.clone(),
            older: waiting(directory, arn, sender),
        })
    }

    /// Hands the copy over, if the call was taken in.
    pub(crate) fn take(self, sockets: &mut Sockets, directory: &Directory, at: Moment) {
        let waits = waiting(directory, &self.arn, &self.sender);
        if waits.is_none() || waits == self.older {
            return;
        }
        let channel = directory.find_active(&self.arn);
        let live = channel.and_then(|key| directory.channel(key)?.live());
        let source = CopySource {
            towards: Some(Towards::Master),
            viewer: &self.sender,
            action: Some(Action::SdpOffer),
            payload: self.payload.as_bytes(),
            fate: match live.and_then(|live| live.members.to_master()) {
                Some(_) => Fate::Delivered,
                None => Fate::Kept,
            },
        };
        sockets.copy(|| source.of_channel(self.arn.name(), at), at);
    }
}

/// The place in its channel's order of the call of this sender that waits.
fn waiting(directory: &Directory, arn: &ChannelArn, sender: &str) -> Option<u64> {
    let channel = directory.channel(directory.find_active(arn)?)?;
    channel.live()?.calls.of(sender).map(|call| call.order)
}

/// Hands a copy over that lacks the name of its channel.
pub(crate) fn copy_named(
    sockets: &mut Sockets,
    directory: &Directory,
    channel: ChannelKey,
    copy: Captured,
    at: Moment,
) {
    let channel = directory.channel(channel);
    let name = channel.map_or("", |channel| channel.record.arn.name());
    let channel = name.into();
    sockets.copy(|| Captured { channel, ..copy }, at);
}
