//! Pages of an account's channels: each shard sends a part, the caller's merges them.
//!
//! The names of a page are spread over all shards, so none knows how many of its own will be on it. Each sends its
//! part of [`LIST_MERGED_MAX`]. Beyond the last name that a shard with more has sent, the merged names may have gaps:
//! the page ends there, and its token says so.

pub(in crate::shard) mod lists;
mod parts;

pub use parts::{PagePart, PageQuestion};

use super::home::status;
use crate::id::{CallRef, Identity, ShardId};
use crate::limits::LIST_MERGED_MAX;
use crate::record::Listed;
use crate::session::{Expected, HttpStage};
use crate::shard::calls::refusals::too_busy;
use crate::shard::directory::Directory;
use crate::shard::directory::page_turn::{PageOf, PageWork};
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::shard::{Answer, Query, QueryKind};
use crate::time::{Moment, Now};
use codec::control::Operation;
use std::ops::Bound;

/// Whether the last part of a page, which just came, waits for a turn with room to merge it. It is added to the others.
pub(in crate::shard) fn merges_later(
    sockets: &mut Sockets,
    directory: &mut Directory,
    caller: CallRef,
    answer: &mut Answer,
    at: Moment,
) -> bool {
    let Answer::Page(page, more) = answer else {
        return false;
    };
    let has_room = directory.pages.has_room(at);
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
        directory.pages.records += merged as u64;
        return false;
    }
    *complete_to = add(records, complete_to.take(), std::mem::take(page), *more);
    directory.pages.waiting.push_back(PageWork::Merge(caller));
    true
}

/// Begins the next list that waits, if the turn has room. Who hung up meanwhile gets none. False when there is none.
pub(in crate::shard) fn begin_list(
    sockets: &mut Sockets,
    directory: &mut Directory,
    todo: &mut TodoList,
    at: Moment,
) -> bool {
    let Some((caller, question)) = directory.lists.next(directory.parts()) else {
        return false;
    };
    if !sockets.awaits(caller) {
        directory.lists.end(caller);
    } else if sockets.http(caller.session).is_some_and(|http| http.ended) {
        directory.lists.end(caller);
        sockets.drop_call(caller.session, at);
    } else if directory.slots.is_some() {
        directory.ask_nodes(todo, caller, question);
    } else {
        sockets.ask_shards(todo, caller, &question);
    }
    true
}

impl Sockets {
    /// Asks every shard for its part of a page.
    fn ask_shards(&mut self, todo: &mut TodoList, caller: CallRef, question: &PageQuestion) {
        let shards = self.placement().shards();
        let share = question.limit.min(LIST_MERGED_MAX / usize::from(shards));
        for of in (0..shards).map(ShardId) {
            let kind = QueryKind::Page {
                of,
                prefix: question.prefix.clone(),
                after: question.after.clone(),
                limit: share,
            };
            let query = Query {
                operation: Operation::ListSignalingChannels,
                held: 0,
                caller: None,
                kind,
            };
            self.send_query(todo, caller, query);
        }
    }
}

impl Directory {
    /// The number of answers that make a page: one of each shard, or that of all nodes together.
    pub(in crate::shard) fn parts(&self) -> usize {
        if self.slots.is_some() {
            1
        } else {
            self.placement.shards().into()
        }
    }

    /// Sends a part of a page, in this turn or in a later one.
    pub(in crate::shard) fn send_page(
        &mut self,
        todo: &mut TodoList,
        caller: CallRef,
        of: PageOf,
        at: Moment,
    ) {
        if self.pages.due() || !self.pages.has_room(at) {
            return self.pages.waiting.push_back(PageWork::Send(caller, of));
        }
        let before = self.pages.records_read;
        let (page, more) = self.page(&of.prefix, of.after.as_deref(), of.limit);
        self.pages.records += self.pages.records_read - before;
        todo.answer(caller, Answer::Page(page, more));
    }

    /// Adds a list to those that wait, or refuses one.
    pub(in crate::shard) fn ask_for_list(
        &mut self,
        todo: &mut TodoList,
        caller: CallRef,
        question: PageQuestion,
    ) {
        if let Some(refused) = self.lists.ask(caller, question) {
            todo.answer(refused, too_busy());
        }
    }

    /// Asks for the parts of all nodes that have channels.
    fn ask_nodes(&mut self, todo: &mut TodoList, caller: CallRef, question: PageQuestion) {
        let slots = self.slots.as_mut();
        if !slots.is_some_and(|slots| slots.list(caller, question)) {
            todo.answer(caller, too_busy());
        }
    }

    /// Goes on with the next page that waited, if the turn has room. False when there is none.
    pub(in crate::shard) fn work_on_page(&mut self, todo: &mut TodoList, at: Moment) -> bool {
        if !self.pages.due() || !self.pages.has_room(at) {
            return false;
        }
        let mut waiting = std::mem::take(&mut self.pages.waiting);
        let work = waiting.pop_front();
        match work {
            Some(PageWork::Send(caller, of)) => self.send_page(todo, caller, of, at),
            Some(PageWork::Merge(caller)) => {
                todo.answer(caller, Answer::Page(Vec::new(), false));
            }
            None => {}
        }
        waiting.append(&mut self.pages.waiting);
        self.pages.waiting = waiting;
        true
    }

    /// Whether this turn has room for one more list.
    pub(in crate::shard) fn has_room_for_list(&mut self, at: Moment) -> bool {
        !self.pages.due() && self.pages.has_room(at)
    }

    /// This shard's part of a page: its channels of slots that it serves.
    pub(in crate::shard) fn part(&mut self, question: &PageQuestion, now: Now) -> PagePart {
        let PageQuestion {
            prefix,
            after,
            limit,
        } = question;
        let (mut records, more) = self.page(prefix, after.as_deref(), *limit);
        let last = records.last().filter(|_| more);
        let complete_to = last.map(|last| last.arn.name().into());
        records.retain(|listed| self.serves(&Identity::of(&listed.arn), now));
        let slots = self.slots.as_ref().map(|slots| slots.served(now));
        PagePart {
            records,
            complete_to,
            slots: slots.unwrap_or_default(),
        }
    }

    /// Whether work for pages waits: a tick is due at once.
    pub(in crate::shard) fn has_pages_due(&self) -> bool {
        self.pages.due() || self.lists.due()
    }

    /// The shard's channels whose identities begin with `prefix` and come after `after`: `limit` of them, at least
    /// one, and whether there are more.
    pub(in crate::shard) fn page(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Listed>, bool) {
        let first = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(Identity::from_text(after)),
            None => Bound::Included(Identity::from_text(prefix)),
        };
        let limit = limit.max(1);
        let mut page = Vec::new();
        let mut more = false;
        for (identity, key) in self.names.range((first, Bound::Unbounded)) {
            self.pages.records_read += 1;
            if !identity.as_str().starts_with(prefix) {
                break;
            }
            // Channels that are only being created are passed over: as many as there may be changes under way.
            let channel = self.channels.get(*key);
            let Some((channel, status)) = channel.and_then(|one| Some((one, status(one)?))) else {
                continue;
            };
            if page.len() == limit {
                more = true;
                break;
            }
            page.push(channel.record.listed(status));
        }
        (page, more)
    }
}

/// Adds a shard's part to those that have come. Returns up to which name all have answer everything.
pub(in crate::shard) fn add(
    records: &mut Vec<Listed>,
    complete_to: Option<Box<str>>,
    page: Vec<Listed>,
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

/// Makes one page of all parts; returns whether there is more.
pub(in crate::shard) fn merge(
    records: &mut Vec<Listed>,
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
