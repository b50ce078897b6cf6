//! Tracks the queries that this shard's connections have sent to other shards, and the Alexa calls that are pending
//! there. Also writes audit entries for calls.

use crate::auth::Caller;
use crate::id::{CallRef, SessionKey, ShardId};
use crate::journal::Audit;
use crate::session::http::{Expected, HttpStage, PendingCall};
use crate::shard::context::Context;
use crate::shard::evidence::audit_caller;
use crate::shard::shares::too_busy;
use crate::shard::todo::Todo;
use crate::shard::{Letter, Query, Sockets};
use crate::time::Now;

impl Sockets {
    /// Returns the call whose answer a session is waiting for.
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

    /// Records that an Alexa call on another shard has ended. Returns `false` if the caller is no longer waiting for
    /// it, or if it was never recorded as pending.
    pub(crate) fn end_offer(&mut self, caller: CallRef) -> bool {
        let taken = self.awaited_offer(caller).is_some_and(std::mem::take);
        if taken {
            self.shards.offers_out -= 1;
        }
        taken
    }

    /// Returns the flag that records whether a caller's Alexa call is pending on another shard. Returns `None` if the
    /// caller is not waiting for an Alexa call.
    fn awaited_offer(&mut self, caller: CallRef) -> Option<&mut bool> {
        let http = self.http(caller.session)?;
        if http.serial != caller.serial {
            return None;
        }
        if let HttpStage::AwaitReply(_, Expected::Answer(_, taken, _)) = &mut http.stage {
            Some(taken)
        } else {
            None
        }
    }

    /// Sends a query to the shard that will answer it, which may be this one.
    pub(crate) fn send_query(&mut self, cx: &mut Context, caller: CallRef, query: Query) {
        let home = self.placement().shard(&query.kind.identity());
        if home == self.shard() {
            return cx.todo.push(Todo::Query(caller, Box::new(query)));
        }
        if self.shards.begin(home, caller) {
            self.post(home, Letter::Query(caller, Box::new(query)));
        } else {
            cx.todo.answer(caller, too_busy());
        }
    }

    pub(crate) fn await_reply(
        &mut self,
        key: SessionKey,
        asked: PendingCall,
        wanted: Expected,
        deadline: Now,
    ) -> Option<CallRef> {
        let http = self.http(key)?;
        http.stage = HttpStage::AwaitReply(asked, wanted);
        http.deadline = deadline;
        self.awaiting(key)
    }

    /// Returns whether the caller is still waiting for this call's answer.
    pub(crate) fn awaits(&mut self, caller: CallRef) -> bool {
        let http = self.http(caller.session);
        http.is_some_and(|http| http.serial == caller.serial && http.awaits_reply())
    }

    /// Abandons the Alexa call of a caller that has hung up, and withdraws it from the shard that owns the channel. If
    /// an answer arrives later, it is dropped. Returns `false` if the connection is not waiting for an Alexa call.
    pub(crate) fn hang_up(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let (Some(caller), Some(http)) = (self.awaiting(key), self.http(key)) else {
            return false;
        };
        let HttpStage::AwaitReply(_, Expected::Answer(identity, taken, _)) = &mut http.stage else {
            return false;
        };
        let (identity, taken) = (identity.clone(), std::mem::take(taken));
        http.serial = http.serial.wrapping_add(1);
        if taken {
            self.shards.offers_out -= 1;
        }
        let home = self.placement().shard(&identity);
        if home == caller.shard {
            cx.todo.push(Todo::HungUp(caller, Box::new(identity)));
        } else if taken {
            self.post(home, Letter::CallWithdrawn(caller));
        }
        // Otherwise, the owning shard has not reported yet that it queued the call. Withdraw the call once it does.
        true
    }

    /// Records that an Alexa call is pending on the shard `home`, or withdraws the call if the caller has hung up in
    /// the meantime.
    pub(crate) fn offer_taken(&mut self, home: ShardId, caller: CallRef) {
        let Some(taken) = self.awaited_offer(caller) else {
            return self.post(home, Letter::CallWithdrawn(caller));
        };
        if !std::mem::replace(taken, true) {
            self.shards.offers_out += 1;
        }
    }

    /// Answers a query that failed because the other shard's mailbox was full.
    pub(crate) fn refused(&mut self, cx: &mut Context, letter: Letter) {
        if let Letter::Query(caller, query) = letter {
            let home = self.placement().shard(&query.kind.identity());
            self.shards.end(home, caller);
            cx.todo.answer(caller, too_busy());
        }
    }

    /// Writes the audit entry for a change whose caller stops waiting before the outcome is known.
    pub(crate) fn note_unanswered(&mut self, cx: &mut Context, key: SessionKey) {
        let Some(http) = self.http(key) else {
            return;
        };
        let HttpStage::AwaitReply(asked, _) = &mut http.stage else {
            return;
        };
        if !std::mem::take(&mut asked.place_kept) {
            return;
        }
        let (caller, operation) = (asked.caller.clone(), asked.operation.name());
        let account = asked.account();
        let subject = asked.subject.take();
        let id = cx.telemetry.request_id();
        match self.audit_of(key, &id, &caller, operation) {
            Some(mut audit) => {
                (audit.channel_arn, audit.outcome) = (subject, "unanswered");
                cx.telemetry.journal().changed(account, audit);
            }
            None => cx.telemetry.journal().unchanged(account),
        }
    }

    /// Creates the audit entry for a successful request, except for the channel, which the caller of this method adds.
    /// Returns `None` if the connection no longer exists.
    pub(crate) fn audit_of(
        &self,
        key: SessionKey,
        id: &str,
        caller: &Caller,
        operation: &'static str,
    ) -> Option<Audit> {
        let session = self.session(key)?;
        Some(Audit {
            caller: audit_caller(caller),
            operation,
            channel_arn: None,
            session: None,
            new_key_id: None,
            outcome: "ok",
            request_id: id.into(),
            remote: session.remote(),
        })
    }
}
