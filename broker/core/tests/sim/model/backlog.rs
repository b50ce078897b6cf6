//! Connections that do not read: closed by their own bound, or as the slowest of all.

use super::{ConnId, Model, Stage};
use broker_core::journal::EndReason;
use std::collections::BTreeMap;

impl Model {
    /// A socket had no room for what was to be sent.
    pub(crate) fn falls_behind(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        conn.behind = matches!(conn.stage, Stage::Open) && conn.bytes > 0;
    }

    /// Connections that are behind may hold three quarters of the shard's bytes; the slowest of the slowest channel, of
    /// the account with most, is closed.
    pub(crate) fn shed(&mut self, shard: usize) {
        let most = self.settings.outbox_bytes_of_shard();
        loop {
            let mut channels: BTreeMap<usize, (usize, Vec<ConnId>)> = BTreeMap::new();
            let mut accounts: BTreeMap<&str, usize> = BTreeMap::new();
            for (id, conn) in self.conns.iter().enumerate() {
                let open = matches!(conn.stage, Stage::Open);
                if conn.live && conn.shard == shard && open && conn.behind {
                    let channel = conn.ws.as_ref().expect("open").channel;
                    let (bytes, behind) = channels.entry(channel).or_default();
                    *bytes += conn.bytes;
                    behind.push(id);
                    *accounts.entry(&self.channels[channel].account).or_default() += conn.bytes;
                }
            }
            let all: usize = channels.values().map(|(bytes, _)| bytes).sum();
            if all <= most - most / 4 {
                return;
            }
            let key = |channel: usize| self.channels[channel].key;
            let by_bytes = accounts
                .into_iter()
                .map(|(account, bytes)| (bytes, account));
            let (_, account) = by_bytes.max().expect("somebody is behind");
            let of_account = |channel: usize| self.channels[channel].account == account;
            let slowest = (channels.into_iter()).filter(|(channel, _)| of_account(*channel));
            let slowest = slowest.max_by_key(|(channel, (bytes, _))| (*bytes, key(*channel)));
            let (_, (_, behind)) = slowest.expect("somebody is behind");
            let weight = |id: &ConnId| (self.conns[*id].bytes, self.conns[*id].key);
            let slowest = behind.into_iter().max_by_key(weight);
            self.met("slowest reader closed for the others");
            self.cut_slow(slowest.expect("somebody is"));
        }
    }

    /// 1008; and when much waits for such connections, they are not waited for.
    pub(crate) fn cut_slow(&mut self, id: ConnId) {
        if !matches!(self.conns[id].stage, Stage::Open) {
            return;
        }
        self.met("slow reader cut off");
        self.close_ws(id, 1008, "slow consumer", EndReason::SlowConsumer);
        self.conns[id].cut = true;
        let shard = self.conns[id].shard;
        let conns = self.conns.iter();
        let cut = conns.filter(|conn| conn.live && conn.shard == shard && conn.cut);
        let bytes: usize = cut.map(|conn| conn.bytes).sum();
        if bytes > self.settings.outbox_bytes_of_shard() / 8 {
            self.met("cut connection not waited for");
            self.abort(id);
        }
    }
}
