//! Queries from this shard's connections to other shards, Alexa calls pending there, and the audit of calls.

use crate::auth::Caller;
use crate::id::{CallRef, Identity, SessionKey, ShardId};
use crate::journal::Audit;
use crate::session::http::{Expected, HttpStage, PendingCall};
use crate::shard::context::Context;
use crate::shard::evidence::audit_caller;
use crate::shard::shares::too_busy;
use crate::shard::todo::Todo;
use crate::shard::{Letter, Query, QueryKind, Sockets};
use crate::time::{Moment, Now};

impl Sockets {
    /// Returns the call whose answer a session is awaiting.
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

    /// Records that another shard has queued an Alexa call. Returns `false` if its caller is no longer waiting.
    pub(crate) fn begin_offer(&mut self, caller: CallRef) -> bool {
        let Some(taken) = self.awaited_offer(caller) else {
            return false;
        };
        if !std::mem::replace(taken, true) {
            self.shards.offers_out += 1;
        }
        true
    }

    /// Records the end of an Alexa call that was pending on another shard. Returns `false` if its caller is no longer
    /// waiting.
    pub(crate) fn end_offer(&mut self, caller: CallRef) -> bool {
        let taken = self.awaited_offer(caller).is_some_and(std::mem::take);
        if taken {
            self.shards.offers_out -= 1;
        }
        taken
    }

    /// Abandons the Alexa call of a caller that hung up; the call's answer will be dropped. Returns the call, its
    /// channel, and whether it is pending on another shard; `None` if the session is not waiting for one.
    pub(crate) fn give_up_offer(&mut self, key: SessionKey) -> Option<(CallRef, Identity, bool)> {
        let caller = self.awaiting(key)?;
        let http = self.http(key)?;
        let HttpStage::AwaitReply(_, Expected::Answer(identity, taken, _)) = &mut http.stage else {
            return None;
        };
        let (identity, taken) = (identity.clone(), std::mem::take(taken));
        http.serial = http.serial.wrapping_add(1);
        if taken {
            self.shards.offers_out -= 1;
        }
        Some((caller, identity, taken))
    }

    /// Returns whether the Alexa call that this caller is waiting for was queued; `None` if the caller is waiting for a
    /// different call or none.
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
}
impl Sockets {
    /// Sends a query to the shard responsible for it.
    pub(crate) fn send_query(&mut self, cx: &mut Context, caller: CallRef, query: Query) {
        let home = self.home_of(&query.kind);
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

    /// Drops a call whose caller has hung up. Responses to earlier requests are still sent.
    pub(crate) fn drop_call(&mut self, key: SessionKey, at: Moment) {
        if let Some(http) = self.http(key) {
            http.stage = HttpStage::AwaitHead;
        }
        self.close_when_sent(key, at);
    }

    /// Whether this call is still awaiting its answer.
    pub(crate) fn awaits(&mut self, caller: CallRef) -> bool {
        let http = self.http(caller.session);
        http.is_some_and(|http| http.serial == caller.serial && http.awaits_reply())
    }

    /// Returns the shard that answers a query.
    fn home_of(&self, ask: &QueryKind) -> ShardId {
        match ask {
            QueryKind::Look(identity, _)
            | QueryKind::Create(identity, _)
            | QueryKind::Offer { identity, .. } => self.placement().shard(identity),
            QueryKind::Change(arn, _) => self.placement().shard(&Identity::of(arn)),
        }
    }

    /// Asks the channel's home to withdraw a pending Alexa call because its caller hung up. Returns `false` if the
    /// connection has no such call.
    pub(crate) fn hang_up(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let Some((caller, identity, taken)) = self.give_up_offer(key) else {
            return false;
        };
        let home = self.placement().shard(&identity);
        if home == caller.shard {
            cx.todo.push(Todo::HungUp(caller, Box::new(identity)));
        } else if taken {
            self.post(home, Letter::CallWithdrawn(caller));
        }
        // Otherwise the home has not yet reported that it queued the call; when it does, no caller is found.
        true
    }

    /// Records that `home` has queued an Alexa call; withdraws it if its caller has hung up in the meantime.
    pub(crate) fn offer_taken(&mut self, home: ShardId, caller: CallRef) {
        if !self.begin_offer(caller) {
            self.post(home, Letter::CallWithdrawn(caller));
        }
    }

    /// Answers the caller whose query was rejected because the mailbox was full.
    pub(crate) fn refused(&mut self, cx: &mut Context, letter: Letter) {
        if let Letter::Query(caller, query) = letter {
            self.shards.end(self.home_of(&query.kind), caller);
            cx.todo.answer(caller, too_busy());
        }
    }

    /// Takes the call that is waiting for an answer.
    pub(crate) fn answered(&mut self, key: SessionKey) -> Option<(PendingCall, Expected)> {
        let http = self.http(key)?;
        let stage = std::mem::replace(&mut http.stage, HttpStage::AwaitHead);
        let HttpStage::AwaitReply(asked, wanted) = stage else {
            http.stage = stage;
            return None;
        };
        Some((asked, wanted))
    }

    /// Audits a change that is still in flight after its caller has stopped waiting for the answer.
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

    /// Creates the audit entry for a successful request, with the channel still unset; `None` if the connection is
    /// gone.
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
