//! Resources that shards without work take: memory, and turns of their threads.

use crate::peer::{Peer, viewer_query};
use crate::process::{Broker, arn};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// With huge pages an idle shard takes 7 MiB, without some 0.4 MiB, and the process itself as much as 19 MiB (with 32
/// of them 32.2 MiB, and up to 32.8 on a busy machine). An ordinary user's 8 MiB of locked memory have room for some
/// more shards: other tests run meanwhile.
#[test]
fn idle_shards_take_small_pages() {
    let enabled = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if !enabled.is_ok_and(|modes| !modes.contains("[never]")) {
        eprintln!("skipped: huge pages are switched off on this machine");
        return;
    }
    let broker = Broker::dev(32);
    // Each shard has answered a question.
    broker.scrape();
    let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).expect("its status");
    let kib = number_after(&status, "RssAnon:").expect("anonymous memory");
    assert!(kib <= 40 * 1024, "{} shards hold {kib} KiB", broker.shards);
}

/// Of a program that is not optimised a start maps 24 of 35 MiB of code; 10 are mapped again later.
#[test]
fn code_that_only_the_start_needs_is_unmapped() {
    let broker = Broker::dev(1);
    let file = |name: &str| format!("/proc/{}/{name}", broker.id());
    let program = fs::read_link(file("exe")).expect("its program");
    testkit::until("half of the code is not mapped", || {
        let maps = fs::read_to_string(file("smaps")).expect("its maps");
        let is_program = |rest: &&str| {
            let line = rest.lines().next().expect("a line");
            line.ends_with(&*program.to_string_lossy())
        };
        let code = maps.split(" r-xp ").find(is_program).expect("its code");
        let kib = |name| number_after(code, name).expect("a number");
        (kib("\nRss:") * 2 <= kib("\nSize:")).then_some(())
    });
}

/// Without `[cluster]` nothing follows one: neither a thread nor what it would hold. (`cluster_etcd::meeting` sees the
/// thread in a node.)
#[test]
fn one_process_has_no_thread_of_a_cluster() {
    let broker = Broker::dev(2);
    broker.scrape();
    let threads = testkit::until("the development certificate with an RSA key", || {
        let threads = broker.threads();
        let has = |wanted: &str| threads.iter().any(|name| name == wanted);
        // A thread that has just begun has the name of the process.
        (has("store") && !has("dev-rsa")).then_some(threads)
    });
    // The admin listener's thread has workers for what blocks.
    let is_other = |name: &String| !name.starts_with("shard-") && name != "tokio-rt-worker";
    let mut threads: Vec<_> = threads.into_iter().filter(is_other).collect();
    threads.sort();
    assert_eq!(threads, ["history", "log", "side", "store"]);
}

/// Clients that connected at different moments are pinged on whole seconds. They do not answer, so every turn is the
/// shard's own: one for the pings of a second, and one every other second for the main thread, which reads counters.
#[test]
fn the_pings_of_a_second_take_one_wake_up() {
    let broker = Broker::configured("[timeouts]\nping = \"3s\"\n", 1);
    let mut peers: Vec<Peer> = (0..200)
        .map(|number| {
            thread::sleep(Duration::from_millis(10));
            let (channel, viewer) = (number / 10, number % 10);
            let query = viewer_query(&arn(&format!("c{channel}")), &format!("v{viewer}"));
            Peer::plain(&broker, &query)
        })
        .collect();
    let (begun, before) = (Instant::now(), wake_ups(&broker));
    for peer in &mut peers {
        peer.await_ping();
    }
    let woken = wake_ups(&broker) - before;
    let most = 2 * begun.elapsed().as_secs() + 6;
    assert!(woken <= most, "{woken} times, at most {most}");
}

/// The number of times that the shards' threads slept and were woken.
fn wake_ups(broker: &Broker) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", broker.id())).expect("its threads");
    let of_shards = threads.filter_map(|thread| {
        let path = thread.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let status = fs::read_to_string(path.join("status")).ok()?;
        let switches = || number_after(&status, "\nvoluntary_ctxt_switches:");
        name.starts_with("shard-").then(switches)?
    });
    of_shards.sum()
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    rest.split_whitespace().next()?.parse().ok()
}
