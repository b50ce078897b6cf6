//! Questions of connections here to other shards, and their Alexa calls that wait there.

use crate::id::{CallRef, Identity, SessionKey, ShardId};
use crate::session::http::{Expected, HttpStage};
use crate::shard::shares::asking::Asking;
use crate::shard::sockets::Sockets;

impl Sockets {
    /// Takes a place for one more question to a shard. False when the caller's account has its share.
    pub(crate) fn begin_question(&mut self, home: ShardId, caller: CallRef) -> bool {
        let asking = self.shards.asking.get_mut(home.index());
        asking.is_some_and(|asking| asking.begin(caller))
    }

    /// One question of this call to `shard` is no longer under way.
    pub(crate) fn heard_from(&mut self, shard: ShardId, caller: CallRef) {
        if let Some(asking) = self.shards.asking.get_mut(shard.index()) {
            asking.end(caller);
        }
    }

    /// Whether no question is under way, and no Alexa call waits on another shard.
    pub(crate) fn asks_nothing(&self) -> bool {
        self.shards.offers_out == 0 && self.shards.asking.iter().all(Asking::is_empty)
    }

    /// The call whose reply a session awaits.
    pub(crate) fn awaiting(&mut self, key: SessionKey) -> Option<CallRef> {
        let shard = self.shards.id;
        let http = self.http(key)?;
        let HttpStage::AwaitReply(asked, _) = &http.stage else {
            return None;
        };
        Some(CallRef {
            shard,
            session: key,
            serial: http.serial,
            account: asked.account(),
            change: false,
        })
    }

    /// Another shard has taken in an Alexa call, which waits there. False when its caller does not wait any more.
    pub(crate) fn begin_offer(&mut self, caller: CallRef) -> bool {
        let Some(taken) = self.awaited_offer(caller) else {
            return false;
        };
        if !std::mem::replace(taken, true) {
            self.shards.offers_out += 1;
        }
        true
    }

    /// An Alexa call that waited on another shard is over. False when its caller does not wait any more.
    pub(crate) fn end_offer(&mut self, caller: CallRef) -> bool {
        let taken = self.awaited_offer(caller).is_some_and(std::mem::take);
        if taken {
            self.shards.offers_out -= 1;
        }
        taken
    }

    /// The caller of an Alexa call is gone, whose answer finds nobody from here on: the call, its channel, and whether
    /// it waits on another shard. `None` when the session waits for none.
    pub(crate) fn give_up_offer(&mut self, key: SessionKey) -> Option<(CallRef, Identity, bool)> {
        let caller = self.awaiting(key)?;
        let http = self.http(key)?;
        let HttpStage::AwaitReply(_, Expected::Answer(identity, taken)) = &mut http.stage else {
            return None;
        };
        let (identity, taken) = (identity.clone(), std::mem::take(taken));
        http.serial = http.serial.wrapping_add(1);
        if taken {
            self.shards.offers_out -= 1;
        }
        Some((caller, identity, taken))
    }

    /// Whether the Alexa call that this caller waits for was taken in; `None` when it waits for none, or another.
    fn awaited_offer(&mut self, caller: CallRef) -> Option<&mut bool> {
        let http = self.http(caller.session)?;
        if http.serial != caller.serial {
            return None;
        }
        if let HttpStage::AwaitReply(_, Expected::Answer(_, taken)) = &mut http.stage {
            Some(taken)
        } else {
            None
        }
    }
}
