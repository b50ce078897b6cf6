//! Pages of channels. One is whole when for every slot a node has said that it serves it, since the call came; while
//! slots move that is asked for again. What is not whole in time is refused, never shortened.

use crate::server::node::inquiry::words::Inquiry;
use crate::server::node::inquiry::{Inquiries, PAGE_MAX, PAGES_WAITING_MAX, Round, What};
use broker_core::check::Check;
use broker_core::id::{CallRef, NodeId};
use broker_core::limits::{LIST_MERGED_MAX, LISTS_OF_NODES_MAX};
use broker_core::shard::{Answer, Fault, PagePart, PageQuestion, Question, Reply};
use broker_etcd::Name;
use codec::control::ErrorKind;
use std::time::{Duration, Instant};

/// While a slot moves, a page is begun again after this long.
const MOVED: Duration = Duration::from_millis(100);

/// A page that a call wants.
pub(crate) struct Page {
    caller: CallRef,
    question: PageQuestion,
    until: Instant,
    parts: Vec<PagePart>,
    /// The page, once it is whole.
    whole: Option<Answer>,
    /// The owner of the first slot that is in no part, if it is known.
    lacking: Option<NodeId>,
}

impl Page {
    /// Adds the part of another node.
    pub(crate) fn add(&mut self, part: PagePart) {
        self.parts.push(part);
    }
}

impl Inquiries {
    pub(crate) fn list(&mut self, caller: CallRef, question: PageQuestion) {
        if self.waiting.len() >= PAGES_WAITING_MAX {
            return self.answer(caller, busy());
        }
        self.waiting.push_back(Page {
            caller,
            question,
            until: Instant::now() + PAGE_MAX,
            parts: Vec::new(),
            whole: None,
            lacking: None,
        });
    }

    pub(crate) fn next_page_due(&self) -> Option<Instant> {
        self.waiting.front().map(|page| page.until)
    }

    /// Begins pages that there is room for; refuses those that have waited for too long.
    pub(crate) fn look_at_waiting(&mut self, now: Instant) {
        while let Some(page) = self.waiting.pop_front_if(|page| page.until <= now) {
            self.answer(page.caller, busy());
        }
        let pages = self.rounds.values();
        let pages = pages.filter(|round| matches!(round.what, What::Page(_)));
        let mut free = LISTS_OF_NODES_MAX.saturating_sub(pages.count());
        while free > 0
            && let Some(page) = self.waiting.pop_front()
        {
            self.begin_page(page);
            free -= 1;
        }
    }

    fn begin_page(&mut self, mut page: Page) {
        let missing = self.nodes();
        let share = (LIST_MERGED_MAX / (missing.len() + 1)).max(1);
        let question = PageQuestion {
            limit: page.question.limit.min(share),
            ..page.question.clone()
        };
        page.parts.extend(self.own_part(&question));
        let (inquiry, until) = (Inquiry::Page(question), page.until);
        self.begin(What::Page(page), &inquiry, missing, until);
    }

    pub(crate) fn begin_page_again(&mut self, round: Round) {
        if let What::Page(page) = round.what {
            self.begin_page(page);
        }
    }

    /// The part of this node; `None` when a shard does not answer.
    pub(crate) fn own_part(&mut self, question: &PageQuestion) -> Option<PagePart> {
        let share = (LIST_MERGED_MAX / self.shards.all().len().max(1)).max(1);
        let of_shard = PageQuestion {
            limit: question.limit.min(share),
            ..question.clone()
        };
        let answers = self.ask_shards(&Question::Part(of_shard))?.into_iter();
        let parts = answers.map(|answer| {
            if let Reply::Part(part) = answer {
                Some(*part)
            } else {
                None
            }
        });
        let parts: Option<Vec<PagePart>> = parts.collect();
        Some(PagePart::of_node(parts?, question.limit))
    }

    /// Whether a round that all have replied to can end. A page is begun again soon when it lacks a slot.
    pub(crate) fn is_whole(&self, round: &mut Round) -> bool {
        let What::Page(page) = &mut round.what else {
            return true;
        };
        let parts = std::mem::take(&mut page.parts);
        let found = PagePart::of_nodes(parts, page.question.limit);
        let lacking = found.slots.first_missing();
        // The next page begins behind the last record of this one.
        let has_no_end = found.records.is_empty() && found.complete_to.is_some();
        if lacking.is_none() && !has_no_end {
            page.whole = Some(Answer::Page(found.records, found.complete_to.is_some()));
            return true;
        }
        // The parts that were found count: in a drain some slot is always on its way, but none for long.
        page.parts = vec![found];
        page.lacking = lacking.and_then(|slot| self.map.owner_of(slot));
        round.again = Instant::now() + MOVED;
        false
    }

    pub(crate) fn end_page(&self, page: Page, missing: &[Name]) {
        let Page {
            caller,
            whole,
            lacking,
            ..
        } = page;
        let answer = whole.unwrap_or_else(|| {
            let names = missing.iter().map(Name::as_str);
            let lacking = lacking.map(|node| self.map.name(node));
            incomplete(names.chain(lacking).collect())
        });
        self.answer(caller, answer);
    }
}

/// The answer without the parts of these nodes.
fn incomplete(mut nodes: Vec<&str>) -> Answer {
    nodes.sort_unstable();
    nodes.dedup();
    let why = if nodes.is_empty() {
        "some channels have no server".into()
    } else {
        format!("no answer from {}", nodes.join(", "))
    };
    let text = format!("The list of channels would be incomplete: {why}. Try again.");
    Fault::new(Check::ListIncomplete, ErrorKind::ServiceUnavailable, text).into()
}

fn busy() -> Answer {
    let text = "The server is busy. Try again.";
    Fault::new(Check::MailboxFull, ErrorKind::ServiceUnavailable, text).into()
}
