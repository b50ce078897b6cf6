//! Places of WebSockets on a shard: when all are taken, the account with most makes room for one with fewer.

use super::{ConnId, Model, Stage};
use broker_core::journal::EndReason;
use std::collections::BTreeMap;

/// No place: nobody has to make room.
pub(crate) struct NoPlace;

impl Model {
    /// Whether one more of an account finds a place on a shard, and who makes room for it.
    pub(crate) fn place_for(&self, shard: usize, arn: &str) -> Result<Option<ConnId>, NoPlace> {
        let connections = self.settings.connections_per_shard();
        let kept = (connections / 16).max(usize::from(connections > 1));
        let mut accounts: BTreeMap<&str, Vec<ConnId>> = BTreeMap::new();
        for id in (0..self.conns.len()).filter(|id| self.has_place(*id, shard)) {
            accounts.entry(self.account_of(id)).or_default().push(id);
        }
        let held: usize = accounts.values().map(Vec::len).sum();
        if held < connections - kept {
            return Ok(None);
        }
        if self.out.ticks {
            self.give_up(); // who ends in this tick before or after that does not show
        }
        let own = arn.split(':').nth(4).unwrap_or_default();
        let own = accounts.get(own).map_or(0, Vec::len);
        let most = accounts.values().max_by_key(|all| all.len());
        if most.is_none_or(|all| all.len() <= own + 1) {
            return Err(NoPlace);
        }
        let (_, payers) = (accounts.into_iter())
            .max_by_key(|(account, all)| (all.len(), *account))
            .expect("places are taken");
        let number = |id: &ConnId| self.conns[*id].ws.as_ref().map(|ws| ws.number);
        let is_master = |id: &&ConnId| self.standing(**id) == 3;
        let first = payers.iter().filter(is_master).min_by_key(|id| number(id));
        let others = payers.iter().filter(|id| Some(*id) != first);
        let payer = others.min_by_key(|id| (self.standing(**id), std::cmp::Reverse(number(id))));
        let payer = payer.copied();
        let since = payer.and_then(|payer| self.ends_since(payer));
        let together = payers.iter().filter(|id| self.ends_since(**id) == since);
        if since.is_some() && together.count() > 1 {
            self.give_up(); // which of those that end since one tick was the last does not show
        }
        Ok(payer)
    }

    /// A connection that was admitted has a place from here on.
    pub(crate) fn takes_a_place(&mut self, id: ConnId, channel: usize) {
        let arn = self.channels[channel].arn.clone();
        if let Ok(Some(payer)) = self.place_for(self.conns[id].shard, &arn) {
            self.gives_up_its_place(payer);
        }
        self.moves_up(id);
    }

    /// Somebody ends for a newcomer: with so few places kept, nobody's end is waited for.
    pub(crate) fn gives_up_its_place(&mut self, payer: ConnId) {
        self.met("connection made room for another account's");
        self.conns[payer].ws.as_mut().expect("it has a place").paid = true;
        let reason = EndReason::MadeRoom;
        self.close_ws(payer, 1001, "Made room for another client", reason);
        self.abort(payer);
    }

    /// It became what it is just now; with a number it has a place.
    pub(crate) fn moves_up(&mut self, id: ConnId) {
        self.numbers += 1;
        let ws = self.conns[id].ws.as_mut().expect("a WebSocket");
        (ws.number, ws.moved) = (self.numbers, self.now);
    }

    fn has_place(&self, id: ConnId, shard: usize) -> bool {
        let conn = &self.conns[id];
        conn.live
            && conn.shard == shard
            && conn.ws.as_ref().is_some_and(|ws| !ws.paid && ws.number > 0)
    }

    fn account_of(&self, id: ConnId) -> &str {
        let ws = self.conns[id].ws.as_ref().expect("a WebSocket");
        &self.channels[ws.channel].account
    }

    /// When a connection began to end, if it ends.
    fn ends_since(&self, id: ConnId) -> Option<u64> {
        let ends = self.standing(id) == 0;
        let ws = self.conns[id].ws.as_ref().filter(|_| ends);
        ws.map(|ws| ws.moved)
    }

    /// One that ends pays before one that was superseded, then viewers, then masters.
    fn standing(&self, id: ConnId) -> u8 {
        let conn = &self.conns[id];
        match (&conn.stage, &conn.ws) {
            (Stage::Open, Some(ws)) if ws.superseded => 1,
            (Stage::Open, Some(ws)) if ws.viewer.is_some() => 2,
            (Stage::Open, _) => 3,
            _ => 0,
        }
    }
}
