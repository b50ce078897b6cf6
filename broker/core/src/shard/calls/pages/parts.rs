//! Pages over all nodes, where slots go from one node to another: each node sends a part, and says which slots it is
//! of. A page is whole when the parts are of every slot.
//!
//! The channels of a slot are listed by a node that serves it. While a slot goes from one node to another, neither may
//! say so, or both: then its channels are in two parts, and listed once.

use crate::cluster::maps::slot_set::SlotSet;
use crate::limits::LIST_PAGE_MAX;
use crate::record::Listed;
use crate::wire::at_most;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Which channels of one account are wanted, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuestion {
    /// `region:account:` and what the names begin with.
    pub prefix: Box<str>,
    /// The last channel of the page before, as `region:account:name`.
    pub after: Option<Box<str>>,
    /// Channels at most.
    pub limit: usize,
}

/// A part of a page.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PagePart {
    /// The channels, by name.
    #[serde(deserialize_with = "at_most::<_, _, _, LIST_PAGE_MAX>")]
    pub records: Vec<Listed>,
    /// There are more behind this name. `None`: these are all.
    pub complete_to: Option<Box<str>>,
    /// The slots whose channels these are.
    pub slots: SlotSet,
}

impl PagePart {
    /// The part of a node, of those of its shards: of the slots that all of them serve.
    #[must_use]
    pub fn of_node(parts: Vec<Self>, limit: usize) -> Self {
        let mut slots = SlotSet::all();
        parts.iter().for_each(|part| slots.keep(&part.slots));
        merge(parts, slots, limit)
    }

    /// The page, of the parts of nodes.
    #[must_use]
    pub fn of_nodes(parts: Vec<Self>, limit: usize) -> Self {
        let mut slots = SlotSet::default();
        parts.iter().for_each(|part| slots.add(&part.slots));
        merge(parts, slots, limit)
    }
}

fn merge(parts: Vec<PagePart>, slots: SlotSet, limit: usize) -> PagePart {
    let ends = parts.iter().filter_map(|part| part.complete_to.clone());
    let mut complete_to = ends.min();
    let mut records: Vec<Listed> = parts.into_iter().flat_map(|part| part.records).collect();
    // Of two channels of one name the younger: the other one ended meanwhile.
    records.sort_by(|one, other| {
        let key = |listed: &Listed| Reverse(listed.created);
        let names = one.arn.name().cmp(other.arn.name());
        names.then_with(|| key(one).cmp(&key(other)))
    });
    records.dedup_by(|next, kept| next.arn.name() == kept.arn.name());
    if let Some(last) = &complete_to {
        records.truncate(records.partition_point(|listed| listed.arn.name() <= &**last));
    }
    if records.len() > limit {
        records.truncate(limit);
        complete_to = records.last().map(|last| last.arn.name().into());
    }
    PagePart {
        records,
        complete_to,
        slots,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cluster::types::Slot;
    use crate::record::Version;
    use crate::time::Wall;
    use codec::control::ChannelStatus;
    use codec::identifiers::ChannelArn;

    fn listed(name: &str, created: u64) -> Listed {
        let arn = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/{created}");
        Listed {
            arn: ChannelArn::parse(&arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(created),
            version: Version::from_bytes([b'v'; 20]).unwrap(),
            status: ChannelStatus::Active,
        }
    }

    fn part(names: &[&str], complete_to: Option<&str>, slots: &[u16]) -> PagePart {
        let mut set = SlotSet::default();
        slots.iter().for_each(|slot| set.insert(Slot(*slot)));
        PagePart {
            records: names.iter().map(|name| listed(name, 17)).collect(),
            complete_to: complete_to.map(Into::into),
            slots: set,
        }
    }

    fn names(page: &PagePart) -> Vec<&str> {
        page.records
            .iter()
            .map(|listed| listed.arn.name())
            .collect()
    }

    #[test]
    fn a_page_ends_where_the_first_part_ends() {
        let parts = || {
            vec![
                part(&["a", "d"], None, &[1]),
                part(&["b", "c"], Some("c"), &[2]),
            ]
        };
        let page = PagePart::of_nodes(parts(), 10);
        assert_eq!(names(&page), ["a", "b", "c"]);
        assert_eq!(page.complete_to.as_deref(), Some("c"));
        let page = PagePart::of_nodes(parts(), 2);
        assert_eq!(names(&page), ["a", "b"]);
        assert_eq!(page.complete_to.as_deref(), Some("b"));
        let whole = vec![part(&["a"], None, &[1]), part(&["b"], None, &[2])];
        assert_eq!(PagePart::of_nodes(whole, 2).complete_to, None);
    }

    #[test]
    fn a_node_answers_for_the_slots_of_all_its_shards_and_a_page_for_those_of_any_node() {
        let parts = || vec![part(&[], None, &[1, 2]), part(&[], None, &[2, 3])];
        let has = |page: &PagePart| [1, 2, 3].map(|slot| page.slots.has(Slot(slot)));
        assert_eq!(has(&PagePart::of_node(parts(), 1)), [false, true, false]);
        assert_eq!(has(&PagePart::of_nodes(parts(), 1)), [true, true, true]);
    }

    #[test]
    fn a_channel_that_two_nodes_have_is_listed_once_and_the_younger_of_a_name() {
        let mut other = part(&["a", "b"], None, &[2]);
        other.records.push(listed("c", 99));
        let page = PagePart::of_nodes(vec![part(&["a", "b", "c"], None, &[1]), other], 10);
        assert_eq!(names(&page), ["a", "b", "c"]);
        let created = page.records.last().map(|last| last.created);
        assert_eq!(created, Some(Wall(99)));
    }
}
