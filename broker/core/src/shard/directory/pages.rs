//! Pages of the channels' names: the lists that wait for them, and what a page has of this shard's channels.

use crate::id::Identity;
use crate::record::Listed;
use crate::shard::directory::Directory;
use crate::shard::directory::channels::status;
use crate::shard::directory::lists::Lists;
use crate::shard::directory::page_turn::{PageOf, PageTurn};
use std::ops::Bound;

impl Directory {
    /// The part of a turn that pages may take.
    pub(crate) fn page_turn(&mut self) -> &mut PageTurn {
        &mut self.pages
    }

    /// The lists that callers of this shard wait for.
    pub(crate) fn lists(&mut self) -> &mut Lists {
        &mut self.lists
    }

    /// The number of answers that make a page: one of each shard, or that of all nodes together.
    pub(crate) fn parts(&self) -> usize {
        if self.slots.is_some() {
            1
        } else {
            self.placement.shards().into()
        }
    }

    /// Whether work for pages waits: a tick is due at once.
    pub(crate) fn has_pages_due(&self) -> bool {
        self.pages.due() || self.lists.due()
    }

    /// Records that were looked at in turns or merged since the start.
    pub(crate) fn paged(&self) -> u64 {
        self.pages.records()
    }

    /// Channel records that pages have looked at.
    pub(crate) fn records_read(&self) -> u64 {
        self.pages.records_read()
    }

    /// Another page has looked at this many records.
    pub(crate) fn count_read(&mut self, records: usize) {
        self.pages.count_read(records);
    }

    /// A part of a page, within the turn.
    pub(crate) fn page_in_turn(&mut self, of: &PageOf) -> (Vec<Listed>, bool) {
        let before = self.pages.records_read();
        let page = self.page(&of.prefix, of.after.as_deref(), of.limit);
        self.pages.count_in_turn(self.pages.records_read() - before);
        page
    }

    /// The shard's channels whose identities begin with `prefix` and come after `after`: `limit` of them, at least
    /// one, and whether there are more.
    pub(crate) fn page(
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
        let (mut more, mut read) = (false, 0);
        for (identity, key) in self.names.range((first, Bound::Unbounded)) {
            read += 1;
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
        self.pages.count_read(read);
        (page, more)
    }
}
