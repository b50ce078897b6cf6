//! A channel's home answers what calls ask of it.

use super::admission::NOT_FOUND;
use super::drain::SHUTTING_DOWN;
use super::{Ask, Letter, Shard, Told};
use crate::event::{Kind, Outcome};
use crate::id::{CallRef, ChannelKey, Identity};
use crate::machine::Output;
use crate::record::{Record, Version};
use crate::registry::Change;
use crate::time::{Moment, Wall};
use codec::aws::{ChannelArn, ChannelName};
use codec::control::{CreateSignalingChannel, ErrorKind};
use codec::ws::close;
use std::ops::Bound;

impl Shard {
    /// Answers a question about a channel, at once or, for an Alexa offer, when the master has answered.
    pub(super) fn answer(&mut self, caller: CallRef, ask: Ask, at: Moment) {
        let told = match ask {
            Ask::Look(identity, arn) => self.look(&identity, arn.as_ref()),
            Ask::Create(identity, create) => self.create(&identity, create, at),
            Ask::Delete(arn, version) => self.delete(&arn, version.as_deref(), at),
            Ask::Page {
                of: _,
                prefix,
                after,
                limit,
            } => self.page(&prefix, after.as_deref(), limit),
            Ask::Offer {
                arn,
                sender,
                payload,
            } => match self.find(&arn) {
                Some(key) if !self.drains() => {
                    return self.take_offer(caller, key, &sender, &payload, at);
                }
                Some(_) => Told::Fault(ErrorKind::ServiceUnavailable, SHUTTING_DOWN.into()),
                None => not_found(),
            },
        };
        self.tell(caller, told, at);
    }

    /// Sends an answer to whoever asked.
    pub(super) fn tell(&mut self, caller: CallRef, told: Told, at: Moment) {
        if caller.shard == self.id {
            self.told(caller, told, at);
        } else {
            self.output(Output::Post(
                caller.shard,
                Letter::Tell(self.id, caller, Box::new(told)),
            ));
        }
    }

    /// The channel that an ARN names, creation time included.
    fn find(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let key = *self.names.get(&Identity::of(arn))?;
        self.channels
            .get(key)
            .filter(|channel| channel.record.arn == *arn)
            .map(|_| key)
    }

    fn look(&self, identity: &Identity, arn: Option<&ChannelArn>) -> Told {
        let channel = self
            .names
            .get(identity)
            .and_then(|&key| self.channels.get(key));
        match channel.filter(|channel| arn.is_none_or(|arn| channel.record.arn == *arn)) {
            Some(channel) => Told::Record(channel.record.clone()),
            None => not_found(),
        }
    }

    fn create(&mut self, identity: &Identity, create: CreateSignalingChannel, at: Moment) -> Told {
        if self.names.contains_key(identity) {
            let message = "A channel with this name exists already in this account and region.";
            return Told::Fault(ErrorKind::ResourceInUse, message.into());
        }
        // The creation time tells a channel from an earlier one of its name, also when both fall into one millisecond or the
        // clock was set back.
        let created = at.wall.max(Wall(self.last_created.0 + 1));
        let (region, account) = (&self.settings.region, &self.settings.account_id);
        let arn = ChannelName::parse(identity.name())
            .ok()
            .and_then(|name| ChannelArn::build(PARTITION, region, account, name, created.0).ok());
        let Some(arn) = arn else {
            return Told::Fault(ErrorKind::InternalFailure, "Internal failure.".into());
        };
        let record = Record {
            arn,
            ttl_seconds: create.ttl_seconds,
            created,
            version: Version::draw(&mut self.random),
            tags: create.tags,
        };
        match self.create_channel(record.clone()) {
            Ok(_) => {
                self.last_created = created;
                Told::Record(record)
            }
            Err((kind, message)) => Told::Fault(kind, message),
        }
    }

    /// Makes a channel durable, then puts it into the tables.
    pub(super) fn create_channel(
        &mut self,
        record: Record,
    ) -> Result<ChannelKey, (ErrorKind, Box<str>)> {
        if !self.channels.has_room() {
            let message = "The server has as many channels as it may have.";
            return Err((ErrorKind::AccountChannelLimitExceeded, message.into()));
        }
        self.store
            .commit(Change::Put(&record))
            .map_err(unavailable)?;
        let full = || {
            (
                ErrorKind::AccountChannelLimitExceeded,
                "The server has no room for the channel.".into(),
            )
        };
        self.insert_channel(record).ok_or_else(full)
    }

    fn delete(&mut self, arn: &ChannelArn, version: Option<&str>, at: Moment) -> Told {
        let Some(key) = self.find(arn) else {
            return not_found();
        };
        let current = self.channels.get(key).map(|channel| channel.record.version);
        if version.is_some_and(|version| current.is_some_and(|current| current.as_str() != version))
        {
            let message = "CurrentVersion is not the version of the channel. Describe it again.";
            return Told::Fault(ErrorKind::VersionMismatch, message.into());
        }
        if let Err((kind, message)) = self.store.commit(Change::Remove(arn)).map_err(unavailable) {
            return Told::Fault(kind, message);
        }
        self.end_channel(key, &Identity::of(arn), at);
        Told::Done
    }

    /// Ends a channel: calls get 404, connections are closed, what was kept is withdrawn, the name is free. protocol.md 3.
    fn end_channel(&mut self, key: ChannelKey, identity: &Identity, at: Moment) {
        self.fail_calls(key, ErrorKind::ResourceNotFound, NOT_FOUND, at);
        self.names.remove(identity);
        let Some(channel) = self.channels.remove(key) else {
            return;
        };
        let Some(live) = channel.live() else { return };
        for (_, _, message) in live.pending.messages() {
            self.counters.pending_messages -= 1;
            self.counters
                .end(Kind::Known(message.action), Outcome::Withdrawn);
        }
        self.counters.pending_bytes = self
            .counters
            .pending_bytes
            .saturating_sub(live.pending.bytes() as u64);
        for session in live.members.all() {
            self.close_web_socket(session, close::GOING_AWAY, "Channel deleted", at);
        }
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Told {
        let first = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(Identity::from_text(after)),
            None => Bound::Included(Identity::from_text(prefix)),
        };
        let names = self.names.range((first, Bound::Unbounded));
        let mut keys = names
            .take_while(|(identity, _)| identity.as_str().starts_with(prefix))
            .map(|(_, key)| *key);
        let records: Vec<Record> = keys
            .by_ref()
            .take(limit)
            .filter_map(|key| self.channels.get(key))
            .map(|channel| channel.record.clone())
            .collect();
        Told::Records(records, keys.next().is_some())
    }
}

fn not_found() -> Told {
    Told::Fault(ErrorKind::ResourceNotFound, NOT_FOUND.into())
}

fn unavailable(error: crate::registry::StoreError) -> (ErrorKind, Box<str>) {
    tracing::error!(%error, "the registry takes no changes");
    (
        ErrorKind::ServiceUnavailable,
        "The registry takes no changes at the moment. Try again later.".into(),
    )
}

/// The partition of channels that we create.
const PARTITION: &str = "aws";
