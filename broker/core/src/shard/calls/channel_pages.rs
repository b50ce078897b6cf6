//! Pages of the list of an account's channels: each shard sends its part, and the caller's shard merges the parts.
//!
//! The names of a page are spread over all shards, so no shard knows how many of its channels will be on the page. Each
//! sends at most [`LIST_MERGED_MAX`] records. Beyond the last name sent by a shard that has more, the merged names may
//! have gaps, so the page ends there and its token marks that name.

use crate::id::{CallRef, Identity, ShardId};
use crate::session::http::{Expected, HttpStage};
pub use crate::shard::calls::letters::{PagePart, PageQuestion};
use crate::shard::calls::responses::too_busy;
use crate::shard::context::Context;
use crate::shard::directory::waiting_callers::{PageOf, PageWork};

use crate::shard::{Answer, Query, QueryKind};
use crate::shard::{Directory, Sockets};
use crate::time::{Moment, Now};
use crate::{limits::LIST_MERGED_MAX, record::ListedChannel};
use codec::control::Operation;

/// Whether merging a page, whose last part has just arrived, is deferred to a turn with capacity for it. If so, the
/// part is added to those received earlier.
pub(crate) fn merges_later(
    sockets: &mut Sockets,
    directory: &mut Directory,
    caller: CallRef,
    answer: &mut Answer,
    at: Moment,
) -> bool {
    let Answer::Page(page, more) = answer else {
        return false;
    };
    let has_room = directory.page_turn().has_room(at);
    let http = sockets.http(caller.session);
    let Some(HttpStage::AwaitReply(
        _,
        Expected::Pages {
            missing: 1,
            records,
            complete_to,
            ..
        },
    )) = http.map(|http| &mut http.stage)
    else {
        return false;
    };
    if has_room {
        let merged = records.len() + page.len();
        directory.page_turn().merged(merged);
        return false;
    }
    *complete_to = add(records, complete_to.take(), std::mem::take(page), *more);
    directory.page_turn().later(PageWork::Merge(caller));
    true
}

/// Begins the next queued list if the turn has capacity, skipping callers that hung up. False when none is queued.
pub(crate) fn begin_list(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
) -> bool {
    let parts = directory.parts();
    let Some((caller, question)) = directory.lists().next(parts) else {
        return false;
    };
    if !sockets.awaits(caller) {
        directory.lists().end(caller);
    } else if sockets.http(caller.session).is_some_and(|http| http.ended) {
        directory.lists().end(caller);
        sockets.drop_call(caller.session, cx.at);
    } else if directory.slots().is_some() {
        directory.ask_nodes(cx, caller, question);
    } else {
        sockets.ask_shards(cx, caller, &question);
    }
    true
}

impl Sockets {
    /// Asks every shard for its part of a page.
    fn ask_shards(&mut self, cx: &mut Context, caller: CallRef, question: &PageQuestion) {
        let shards = self.placement().shards();
        let share = question.limit.min(LIST_MERGED_MAX / usize::from(shards));
        for of in (0..shards).map(ShardId) {
            let kind = QueryKind::Page {
                of,
                prefix: question.prefix.clone(),
                after: question.after.clone(),
                limit: share,
            };
            let query = Query::of_server(Operation::ListSignalingChannels, kind);
            self.send_query(cx, caller, query);
        }
    }
}

impl Directory {
    /// Sends a part of a page, in this turn or a later one.
    pub(crate) fn send_page(&mut self, cx: &mut Context, caller: CallRef, of: PageOf) {
        if !self.page_turn().has_room_for_more(cx.at) {
            return self.page_turn().later(PageWork::Send(caller, of));
        }
        let (page, more) = self.page_in_turn(&of);
        cx.todo.answer(caller, Answer::Page(page, more));
    }

    /// Enqueues a list request, or refuses it.
    pub(crate) fn ask_for_list(
        &mut self,
        cx: &mut Context,
        caller: CallRef,
        question: PageQuestion,
    ) {
        if let Some(refused) = self.lists().ask(caller, question) {
            cx.todo.answer(refused, too_busy());
        }
    }

    /// Asks every node that serves channels for its part of a page.
    fn ask_nodes(&mut self, cx: &mut Context, caller: CallRef, question: PageQuestion) {
        let slots = self.slots_mut();
        if !slots.is_some_and(|slots| slots.list(caller, question)) {
            cx.todo.answer(caller, too_busy());
        }
    }

    /// Continues with the next queued page if the turn has capacity. False when none is queued.
    pub(crate) fn work_on_page(&mut self, cx: &mut Context) -> bool {
        match self.page_turn().next(cx.at) {
            Some(PageWork::Send(caller, of)) => {
                let (page, more) = self.page_in_turn(&of);
                cx.todo.answer(caller, Answer::Page(page, more));
            }
            Some(PageWork::Merge(caller)) => {
                cx.todo.answer(caller, Answer::Page(Vec::new(), false));
            }
            None => return false,
        }
        true
    }

    /// Part of a page from this shard: its channels in the slots that it serves.
    pub(crate) fn part(&mut self, question: &PageQuestion, now: Now) -> PagePart {
        let PageQuestion {
            prefix,
            after,
            limit,
        } = question;
        let (mut records, more) = self.page(prefix, after.as_deref(), *limit);
        let last = records.last().filter(|_| more);
        let complete_to = last.map(|last| last.arn.name().into());
        records.retain(|listed| self.serves(&Identity::of(&listed.arn), now));
        let slots = self.slots().map(|slots| slots.served(now));
        PagePart {
            records,
            complete_to,
            slots: slots.unwrap_or_default(),
        }
    }
}

/// Adds a shard's part to those received. Returns the name up to which all shards have sent everything.
pub(crate) fn add(
    records: &mut Vec<ListedChannel>,
    complete_to: Option<Box<str>>,
    page: Vec<ListedChannel>,
    more: bool,
) -> Option<Box<str>> {
    let last = page.last().filter(|_| more).map(|last| last.arn.name());
    let complete_to = match (complete_to, last) {
        (Some(before), Some(last)) if *last < *before => Some(last.into()),
        (None, Some(last)) => Some(last.into()),
        (complete_to, _) => complete_to,
    };
    records.extend(page);
    complete_to
}

/// Merges all parts into one page; returns whether there are more channels.
pub(crate) fn merge(
    records: &mut Vec<ListedChannel>,
    complete_to: Option<&str>,
    limit: usize,
) -> bool {
    records.sort_by(|one, other| one.arn.name().cmp(other.arn.name()));
    if let Some(last) = complete_to {
        records.truncate(records.partition_point(|listed| listed.arn.name() <= last));
    }
    let more = complete_to.is_some() || records.len() > limit;
    records.truncate(limit);
    more
}

#[cfg(test)]
mod tests;
