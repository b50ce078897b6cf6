//! Two nodes with a fixed map, one of which is killed while parties are connected.

use crate::broker::process::{Broker, SECRET, directory};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;
use testkit::until_within;

/// Everybody who was connected through the node, or whose channel it has, meets again once it is back; the report has
/// how many channels these were, and how long that took.
#[test]
fn the_loss_of_a_node_is_counted_channel_by_channel() {
    let [n1, n2] = nodes();
    let targets = [n1.url("http://"), n2.url("http://")];
    let flags = format!(
        "--target {} --target {} --mode storm --create-channels --channels {CHANNELS} --viewers-per-channel {VIEWERS} \
         --candidates 1 --trickle 0 --duration 10",
        targets[0], targets[1]
    );
    let end = thread::scope(|scope| {
        let run = scope.spawn(|| n1.loadgen(&flags, SECRET));
        // An offer, an answer and a candidate of each side.
        let messages = f64::from(CHANNELS * VIEWERS * 4);
        until_within(MET_WITHIN, "the meeting of everybody", || {
            (n1.received() + n2.received() >= messages).then_some(())
        });
        let again = n2.kill_and_start_again();
        let end = run.join().unwrap();
        drop(again);
        end
    });
    assert_eq!(end.code, Some(0), "{end:?}");
    let report = &end.report;
    let (cut_off, recovery) = (&report["cut_off"], &report["latency_us"]["recovery"]);
    let channels = cut_off["channels"].as_u64().unwrap();
    // Through a node that was killed went a master or a viewer of each channel.
    assert!(channels >= u64::from(CHANNELS), "{report}");
    assert_eq!(cut_off["recovered"], channels, "{report}");
    assert_eq!(recovery["count"], channels, "{report}");
    assert!(recovery["p50"].as_u64() <= recovery["max"].as_u64());
    assert_eq!(
        report["sessions"]["completed"],
        u64::from(CHANNELS * VIEWERS),
        "{report}"
    );
    assert_eq!(report["target"], targets.join(","));
    let counts = report["targets"].as_array().unwrap();
    for (counts, target) in counts.iter().zip(&targets) {
        assert_eq!(counts["url"], **target);
        let fine = counts["opened"].as_u64().unwrap() >= u64::from(CHANNELS);
        assert!(fine, "{report}");
    }
    assert_eq!(counts.len(), 2, "{report}");
    assert!(counts[1]["failed"].as_u64().unwrap() > 0, "{report}");
}

/// Two nodes, each on an address of loopback that no other test uses, so that it can start again where it was.
fn nodes() -> [Broker; 2] {
    let [low, high, ..] = std::process::id().to_le_bytes();
    let ip = |node: u8| Ipv4Addr::new(127, 192 + node, high, low);
    let directories = [directory(), directory()];
    let map = format!(
        "n1 {}:{INNER} 0-2047\nn2 {}:{INNER} 2048-4095\n",
        ip(0),
        ip(1)
    );
    let mut nodes = directories.into_iter().zip(0..).map(|(directory, node)| {
        let path = |name: &str| directory.path(name).display().to_string();
        fs::write(path("map"), &map).unwrap();
        fs::write(path("secret"), "ab".repeat(32)).unwrap();
        fs::set_permissions(path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "[cluster]\nname = 'test'\nnode = 'n{}'\nlisten = '{}:{INNER}'\nsecret_file = '{}'\n\
             map_file = '{}'\n",
            node + 1,
            ip(node),
            path("secret"),
            path("map"),
        );
        fs::write(path("broker.toml"), config).unwrap();
        let flags = format!(
            "--auth none --config {} --listen http://{}:{CLIENTS}",
            path("broker.toml"),
            ip(node)
        );
        Broker::start(directory, &flags)
    });
    [nodes.next().unwrap(), nodes.next().unwrap()]
}

const CHANNELS: u32 = 6;
const VIEWERS: u32 = 2;
/// Ports of addresses that only these nodes have.
const INNER: u16 = 7443;
const CLIENTS: u16 = 7080;
const MET_WITHIN: Duration = Duration::from_secs(20);
