//! Lists over all nodes: what a shard asks, its own part, and what becomes of the answer.

use super::client;
use super::slots::{ACCOUNT, CHANNEL, Node, REGION, arn, held};
use broker_core::check::Check;
use broker_core::id::{CallRef, SessionKey, Slot};
use broker_core::record::Holding;
use broker_core::refusal::Refusal;
use broker_core::settings::{Quotas, Rate, Settings};
use broker_core::shard::{Answer, PagePart, PageQuestion};
use broker_core::time::Now;

fn list(node: &mut Node) -> (SessionKey, CallRef) {
    let session = node.call("/listSignalingChannels", r#"{"MaxResults":7}"#);
    let (caller, question) = node.desk(|desk| desk.lists.pop()).expect("all are asked");
    let prefix = format!("{REGION}:{ACCOUNT}:");
    let wanted = PageQuestion {
        prefix: prefix.into(),
        after: None,
        limit: 7,
    };
    assert_eq!(question, wanted);
    assert_eq!(node.heard(session), "", "it waits for all");
    (session, caller)
}

#[test]
fn a_list_is_what_all_nodes_answer_together() {
    let mut node = Node::serving(None);
    let (session, caller) = list(&mut node);
    let question = PageQuestion {
        prefix: format!("{REGION}:{ACCOUNT}:").into(),
        after: None,
        limit: 7,
    };
    let part = PagePart::of_node(&node.map, &*node.catalog, &question, node.at.now);
    assert_eq!(part.complete_to, None);
    let slot = held(&node.map).slot;
    let served: Vec<_> = (0..4096)
        .map(Slot)
        .filter(|slot| part.slots.has(*slot))
        .collect();
    assert_eq!(served, [slot]);
    let page = Answer::Page(part.records, true);
    node.answer(caller, page);
    let answer = node.heard(session);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let fine = answer.contains(arn().as_str()) && answer.contains("NextToken");
    assert!(fine, "{answer}");
    node.assert_balanced();
}

#[test]
fn a_list_without_all_nodes_is_refused_and_an_answer_finds_its_caller_alone() {
    let mut node = Node::serving(None);
    let (gone, early) = list(&mut node);
    node.input(client::gone(gone, 0));
    let (session, caller) = list(&mut node);
    let refusal = || Refusal::unavailable(Check::ListIncomplete, "no n2");
    node.answer(early, refusal());
    assert_eq!(node.heard(session), "");
    node.answer(caller, refusal());
    assert!(node.heard(session).starts_with("HTTP/1.1 503 "));
    assert!(node.heard(session).contains("no n2"));
    node.desk(|desk| desk.is_full = true);
    let session = node.call("/listSignalingChannels", "{}");
    assert!(node.heard(session).starts_with("HTTP/1.1 503 "));
    node.assert_balanced();
}

/// Neither a node that may not serve, nor one whose slot is on its way elsewhere, says that a list has its channels.
#[test]
fn a_part_is_of_slots_that_are_served() {
    let part = |node: &mut Node| {
        let question = PageQuestion {
            prefix: format!("{REGION}:{ACCOUNT}:").into(),
            after: None,
            limit: 7,
        };
        let part = PagePart::of_node(&node.map, &*node.catalog, &question, node.at.now);
        (part.records.len(), part.slots.has(held(&node.map).slot))
    };
    let mut node = Node::serving(None);
    assert_eq!(part(&mut node), (1, true));
    node.map.set_valid_until(node.at.now);
    assert_eq!(part(&mut node), (0, false));
    node.map.set_valid_until(Now(100_000));
    node.map.assign(held(&node.map).slot, None);
    assert_eq!(part(&mut node), (0, false));
}

fn strict(quotas: Quotas) -> Settings {
    let mut settings = Settings {
        quotas,
        ..Settings::default()
    };
    settings.limits.channels_per_account = 2;
    settings
}

fn create(node: &mut Node, name: &str) -> SessionKey {
    node.call(
        "/createSignalingChannel",
        &format!("{{\"ChannelName\":\"{name}\"}}"),
    )
}

#[test]
fn channels_of_other_nodes_count_for_an_account() {
    let mut node = Node::with(strict(Quotas::default()));
    node.take_slot(Vec::new());
    for (elsewhere, wanted) in [(2, true), (1, false)] {
        let session = create(&mut node, CHANNEL);
        let (caller, tenant) = node.desk(|desk| desk.counts.pop()).expect("all are asked");
        assert_eq!(*tenant, *format!("{REGION}:{ACCOUNT}:"));
        assert_eq!(node.heard(session), "", "it waits for the others");
        let answer = Answer::Holding(Holding {
            channels: elsewhere,
            bytes: 0,
        });
        node.answer(caller, answer);
        let answer = node.heard(session);
        let is_refused = answer.contains("AccountChannelLimitExceeded");
        assert_eq!(is_refused, wanted, "{answer}");
    }
    node.desk(|desk| desk.is_full = true);
    let session = create(&mut node, CHANNEL);
    assert!(node.heard(session).starts_with("HTTP/1.1 503 "));
}

/// Each node allows its part of a rate, and never nothing.
#[test]
fn nodes_share_the_rates_of_accounts() {
    let rate = Rate { rate: 4, burst: 4 };
    for (nodes, allowed) in [(1, 4), (2, 2), (3, 1), (100, 1)] {
        let quotas = Quotas {
            account_list: rate,
            off: false,
            ..Quotas::default()
        };
        let mut node = Node::with(strict(quotas));
        node.map.set_nodes(nodes);
        let mut taken = 0;
        for _ in 0..6 {
            let session = node.call("/listSignalingChannels", "{}");
            taken += usize::from(node.heard(session).is_empty());
        }
        assert_eq!(taken, allowed, "{nodes} nodes");
    }
}
