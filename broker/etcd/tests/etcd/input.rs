//! Unexpected surroundings of a node: another machine under its name, foreign keys, keys in another format, and an etcd
//! without a majority. The node reports each of them, and continues to serve.

use crate::clusters::{ALL, One, Two};
use crate::server::Etcd;
use crate::world::{World, never, wait};
use broker_core::cluster::message::Ending;
use std::time::Duration;

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_second_machine_of_the_same_name_ends_and_the_first_goes_on() {
    let Some(One {
        etcd,
        world,
        node: first,
    }) = One::start()
    else {
        return;
    };
    // Another data directory. To the rules, this is another machine.
    let other = World::default();
    let second = other.node("n1", &etcd);
    wait("the second one ends", Duration::from_secs(40), || {
        second.has_ended()
    });
    let endings = other.book().endings.clone();
    assert_eq!(endings, [(second.process(), Ending::NameTaken)]);
    assert_eq!((other.served(), first.serves()), (0, ALL));
    assert!(first.inspect().has_etcd);
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn keys_of_others_and_of_another_format_cost_nothing_that_is_served() {
    let Some(etcd) = Etcd::found() else { return };
    let put =
        |key: &str, value: &str| etcd.ctl(&["put", &format!("/heliograph/test/{key}"), value]);
    #[rustfmt::skip] // a list
    let cases = [
        "live", "notes/today", "s/xyz", "order/n1", "report/n9", "zzz",
    ];
    for key in cases {
        put(key, "of somebody else");
    }
    let One { etcd, world, node } = One::on(etcd);
    let before = node.epochs();

    // A value as a later version might write it. Its meaning is unknown, so the node draws no conclusions from it.
    let slot = "/heliograph/test/s/00a";
    let own = etcd.ctl(&["get", "--print-value-only", slot]);
    etcd.ctl(&["put", slot, r#"{"format":2,"owner":"n1"}"#]);
    wait("it says so", Duration::from_secs(10), || {
        let trouble = node.inspect().trouble;
        trouble.is_some_and(|why| why.contains("s/00a") && why.contains("format 2"))
    });
    never("it moved", Duration::from_secs(5), || world.served() != ALL);
    assert_eq!(node.epochs(), before);

    etcd.ctl(&["put", slot, own.trim()]);
    wait("it goes on", Duration::from_secs(20), || {
        let view = node.inspect();
        view.has_etcd && view.trouble.is_none() && view.served == ALL
    });
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn without_a_majority_of_etcd_all_goes_on_and_nothing_is_written() {
    let Some(two) = Two::on_three_members() else {
        return;
    };
    let world = &two.world;
    two.others.iter().for_each(Etcd::freeze);
    two.until_without_etcd();
    // Longer than a registration lives.
    never("a slot is not served", Duration::from_secs(13), || {
        world.served() != ALL
    });
    two.others.iter().for_each(Etcd::thaw);
    wait("both have etcd", Duration::from_secs(20), || two.has_etcd());
    two.unmoved();
}

/// An operator's order in etcd is carried out, and reported on, only by the process for which it was written.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn orders_are_for_one_process() {
    let Some(One { etcd, world, node }) = One::start() else {
        return;
    };
    let live = etcd.ctl(&["get", "--print-value-only", "/heliograph/test/live/n1"]);
    let own: serde_json::Value = serde_json::from_str(live.trim()).unwrap();
    let order = |start: u64, word: &str| {
        let value = serde_json::json!({
            "format": 1, "directory": own["directory"], "start": start, "order": word,
        });
        etcd.ctl(&["put", "/heliograph/test/order/n1", &value.to_string()]);
    };
    let report = || etcd.ctl(&["get", "--print-value-only", "/heliograph/test/report/n1"]);
    let start = own["start"].as_u64().unwrap();
    order(start + 1, "drain");
    order(start, "dance");
    never(
        "it carries out what is not for it",
        Duration::from_secs(2),
        || world.book().asked_to_drain > 0 || !report().trim().is_empty(),
    );
    order(start, "report");
    wait("its report", Duration::from_secs(5), || {
        report().contains("unix_ms")
    });
    let first = report();
    never("it reports again unasked", Duration::from_secs(3), || {
        report() != first
    });
    order(start, "drain");
    wait("the order", Duration::from_secs(5), || {
        world.book().asked_to_drain == 1
    });
    wait("reports until it ends", Duration::from_secs(10), || {
        let second = report();
        second != first && {
            std::thread::sleep(Duration::from_secs(2));
            report() != second
        }
    });
    assert_eq!(world.book().asked_to_drain, 1);
    // Even a watch that starts again does not repeat the order.
    etcd.ctl(&["compaction", "3"]);
    assert!(node.inspect().has_etcd);
    world.sound();
}
