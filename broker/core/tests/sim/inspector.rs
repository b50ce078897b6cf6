//! Questions of an operator between two turns; the answers are compared with the model.

use crate::sim::clients::account_of;
use crate::sim::faults::Action;
use crate::sim::model::changes::Life;
use crate::sim::model::{Channel, ConnId, Stage};
use crate::sim::world::World;
use broker_core::id::Identity;
use broker_core::machine::Machine;
use broker_core::shard::Towards;
use broker_core::shard::{ChannelView, PeerView, Question, Reply};

/// A page's line of a channel: its ARN, whether a master is there, how many viewers, how many kept messages.
type Line = (String, bool, usize, usize);

impl World {
    /// An operator asks a shard something.
    pub(crate) fn inspect_some(&mut self, action: Action) {
        let shard = self.random.usize(0..self.shards.len());
        self.before(shard);
        if action == Action::Reconnect {
            self.reconnect(shard);
        } else if self.random.bool() {
            let name = self.name();
            self.look(shard, &name);
        } else {
            self.page(shard);
        }
        self.read_trace(shard);
        self.after(shard, false);
    }

    pub(crate) fn ask(&mut self, shard: usize, question: Question) -> Reply {
        self.trace(shard, &question);
        let at = self.at();
        self.shards[shard].inspect(question, at)
    }

    fn page(&mut self, shard: usize) {
        let prefix = ["", "channel", "channel1", "x"][self.random.usize(0..4)];
        let after = self.random.bool().then(|| self.name());
        let limit = self.random.usize(1..4);
        let question = Question::Page {
            prefix: prefix.into(),
            after: after.as_deref().map(|name| self.identity(name)),
            limit,
            viewer: None,
            presence: true,
        };
        let Reply::Page(found, found_more) = self.ask(shard, question) else {
            panic!("a page is answered by a page");
        };
        let here = self.model.channels.iter();
        let here = here.filter(|one| one.alive && one.home == shard);
        let mut all: Vec<&Channel> = here
            .filter(|one| one.name.starts_with(prefix) && Some(&one.name) > after.as_ref())
            .collect();
        all.sort_unstable_by_key(|one| &one.name);
        let (mut wanted, mut left) = (Vec::<Line>::new(), all.into_iter());
        let mut are_gone = Vec::new();
        while wanted.len() < limit
            && let Some(one) = left.next()
        {
            if one.life != Life::Creating {
                let (viewers, kept) = (one.viewers.len(), one.pending.len());
                let gone = one.master.is_some_and(|master| self.model.is_gone(master));
                are_gone.push(gone);
                wanted.push((one.arn.clone(), one.master.is_some(), viewers, kept));
            }
        }
        assert_eq!(found.len(), are_gone.len(), "lines of a page");
        let found = found.into_iter().zip(are_gone).map(|(line, gone)| {
            assert_eq!(line.identity.name(), line.arn.name());
            let there = line.presence.as_deref();
            let there = there.map(|there| (there.master.is_some(), there.viewers as usize));
            let wanted = (line.master_connected && !gone, line.viewers);
            assert!(there == Some(wanted) || there.is_none() && wanted == (false, 0));
            let arn = line.arn.as_str().to_owned();
            (arn, line.master_connected, line.viewers, line.pending)
        });
        let found: Vec<Line> = found.collect();
        assert_eq!(found, wanted, "a page");
        assert_eq!(found_more, left.next().is_some(), "whether more follow");
        self.model.met("channels inspected");
    }

    fn look(&mut self, shard: usize, name: &str) {
        let Reply::Channel(found) = self.ask(shard, Question::Channel(self.identity(name))) else {
            panic!("a channel is answered by a channel");
        };
        let channel = self.model.named(name).filter(|&channel| {
            let one = &self.model.channels[channel];
            one.home == shard && one.life != Life::Creating
        });
        assert_eq!(found.is_some(), channel.is_some(), "whether {name} is here");
        if let (Some(found), Some(channel)) = (found, channel) {
            self.compare(&found, channel);
            self.model.met("channel inspected");
        }
    }

    fn compare(&self, found: &ChannelView, channel: usize) {
        let wanted = &self.model.channels[channel];
        let record = &found.record;
        assert_eq!(record.arn.as_str(), wanted.arn);
        assert_eq!(u64::from(record.ttl_seconds), wanted.ttl);
        assert_eq!(Some(record.version.as_str()), wanted.version.as_deref());
        let tags = record.tags.iter();
        let tags: Vec<(&str, &str)> = tags.map(|tag| (&*tag.key, &*tag.value)).collect();
        let wanted_tags = wanted.tags.iter();
        let wanted_tags: Vec<(&str, &str)> =
            wanted_tags.map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(tags, wanted_tags);
        let peers: Vec<&PeerView> = found.master.iter().chain(&found.viewers).collect();
        let wanted_peers: Vec<ConnId> = (wanted.master.iter().copied())
            .chain(wanted.viewers.values().copied())
            .collect();
        assert_eq!(peers.len(), wanted_peers.len(), "who is connected");
        for (peer, conn) in peers.into_iter().zip(wanted_peers) {
            self.compare_peer(peer, conn);
        }
        let now = self.model.now;
        let kept = wanted.pending.iter().map(|&number| {
            let message = &self.model.messages[number];
            let towards = if message.to_master {
                Towards::Master
            } else {
                Towards::Viewer
            };
            let left = message.expires.saturating_sub(now);
            let age = (wanted.ttl * 1000).saturating_sub(left);
            let viewer = message.viewer.clone();
            (towards, viewer, message.action, message.bytes(), age)
        });
        let pending = found.pending.iter().map(|one| {
            let viewer = one.viewer.to_string();
            (one.towards, viewer, one.action, one.bytes, one.age_ms)
        });
        assert_eq!(pending.collect::<Vec<_>>(), kept.collect::<Vec<_>>());
        assert_eq!(found.superseded, wanted.superseded.len(), "superseded");
        assert_eq!(found.waiting_calls, wanted.calls.len(), "waiting calls");
    }

    fn compare_peer(&self, found: &PeerView, conn: ConnId) {
        let wanted = &self.model.conns[conn];
        let ws = wanted.ws.as_ref().expect("a member is a WebSocket");
        assert_eq!(found.client_id.as_deref(), ws.viewer.as_deref());
        assert_eq!(found.remote, wanted.remote);
        assert_eq!(found.tls, wanted.tls);
        let age = self.model.now - ws.opened;
        assert_eq!(found.connected_at.0, self.model.wall - age);
        let messages = (found.messages_in, found.messages_out);
        assert_eq!(messages, (ws.messages_in, ws.messages_out));
        assert_eq!(found.last_frame_age_ms, self.model.now - ws.heard);
        assert_eq!(found.outbox_bytes, wanted.bytes, "bytes that wait");
        let unconfirmed = self.model.unconfirmed(conn);
        assert_eq!(found.unconfirmed_bytes, unconfirmed, "bytes not confirmed");
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        Identity::new("us-west-2", &account_of(name, self.plan.accounts), name)
    }

    fn reconnect(&mut self, shard: usize) {
        let name = self.random.bool().then(|| self.name());
        let channel = name.as_ref().map(|name| self.model.named(name));
        let mut told = 0;
        let mut recalled = 0;
        for conn in self.keys[shard].values().copied().collect::<Vec<_>>() {
            let one = &self.model.conns[conn];
            let (Stage::Open, Some(ws)) = (&one.stage, &one.ws) else {
                continue;
            };
            let meant = channel.is_none_or(|channel| channel == Some(ws.channel));
            if !meant || ws.superseded {
                continue;
            }
            let notices = ws.notices;
            if self.model.reconnect(conn) {
                (told, recalled) = (told + 1, recalled + u64::from(!notices));
            }
        }
        let question = Question::ReconnectIce {
            channel: name.as_deref().map(|name| self.identity(name)),
            from: 0,
        };
        let Reply::Reconnected(found, next) = self.ask(shard, question) else {
            panic!("the request is answered by a number");
        };
        assert_eq!((found, next), (told, None), "how many were notified");
        if told > recalled {
            self.model.met("notified to fetch ICE servers again");
        }
    }
}
