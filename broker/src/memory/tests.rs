use super::*;
use broker_core::{limits::SHARDS_MAX, settings::Profile};

/// The most bytes that a process of 1 to 16 shards takes at default limits, without its connections. Includes 128 MiB
/// that the kernel holds for peers. Each further shard adds a MiB for the list that it may be producing.
const MOST: usize = 1292 * MIB;

#[test]
fn the_sum_is_the_same_whatever_the_number_of_shards() {
    for profile in [Profile::Default, Profile::Strict] {
        for shards in 1..=SHARDS_MAX {
            let mut settings = Settings::new(profile, false);
            settings.shards = shards;
            let terms = budget(&settings);
            let bytes: usize = terms.iter().map(Term::total).sum();
            let lines: Vec<String> = terms.iter().map(Term::to_string).collect();
            assert!(
                bytes <= MOST + shards.saturating_sub(16) * MIB,
                "{shards} shards: {} MiB\n{}",
                bytes >> 20,
                lines.join("\n")
            );
        }
    }
}

#[test]
fn what_is_written_is_what_counts() {
    let mut settings = Settings::default();
    let of = |settings: &Settings, name| {
        let terms = budget(settings);
        terms.iter().find(|term| term.name == name).unwrap().total()
    };
    assert_eq!(of(&settings, "kept messages"), 3 * 48 * MIB);
    settings.shards = 4;
    assert_eq!(of(&settings, "kept messages"), 3 * 48 * MIB);
    let mut large = Settings::default();
    for shards in [1, 2, 7, 256] {
        large.shards = shards;
        let records = records(&large).total();
        assert!(
            records <= 512 * MIB && records > 511 * MIB,
            "{shards} shards: {records}"
        );
    }
    settings.limits.pending_bytes_per_shard = MIB;
    assert_eq!(of(&settings, "kept messages"), 3 * 4 * MIB);
    // Callers are connected, so with few connections there are few waiting changes and calls.
    let changes = store::limits::KEY_BYTES_MAX + ENCODED_BYTES_MAX;
    for (connections, shards, most) in [
        (2200, 1, [137; 2]),
        (2200, 4, [548; 2]),
        (9, 1, [64; 2]),
        (65_536, 1, [1024, 4096]),
    ] {
        (settings.limits.connections, settings.shards) = (connections, shards);
        assert_eq!(of(&settings, "changes before the store"), most[0] * changes);
        assert_eq!(
            of(&settings, "waiting Alexa calls"),
            most[1] * WAITING_CALL_BYTES
        );
    }
}

/// The log, the causes and the history, which the console reads, take 8 MB with all rings full.
#[test]
fn what_the_console_remembers_takes_8_mb() {
    let terms = budget(&Settings::default());
    let of = |name| terms.iter().find(|term| term.name == name).unwrap().total();
    #[rustfmt::skip] // a list
    let rings = ["log lines kept", "problems", "places of causes", "the history's queue"];
    let bytes: usize = rings.map(of).iter().sum();
    assert!(bytes <= 8_000_000, "{bytes}");
}

#[test]
fn a_node_of_a_cluster_has_terms_of_its_own() {
    let mut settings = Settings {
        shards: 2,
        ..Settings::default()
    };
    let alone = budget(&settings);
    settings.cluster.name = Some("prod".into());
    let terms = budget(&settings);
    assert_eq!(terms.len(), alone.len() + 4);
    let bytes: usize = terms.iter().map(Term::total).sum();
    assert!(bytes <= MOST, "{}", bytes >> 20);
}

#[test]
fn a_node_on_etcd_takes_704_mib_more() {
    let mut settings = Settings::default();
    settings.cluster.name = Some("prod".into());
    let fixed = budget(&settings);
    settings.cluster.etcd.endpoints = vec!["http://127.0.0.1:2379".into()];
    let terms = budget(&settings);
    assert_eq!(terms.len(), fixed.len() + 6);
    let bytes = |terms: &[Term]| -> usize { terms.iter().map(Term::total).sum() };
    let more = bytes(&terms) - bytes(&fixed);
    assert!(more <= 704 * MIB, "{}", more >> 20);
}

#[test]
fn a_reload_may_have_what_the_start_had_or_the_machine_has() {
    let mut settings = Settings {
        shards: 64,
        ..Settings::default()
    };
    let start = bytes(&settings);
    settings.limits.payload_bytes = MIB;
    let more = bytes(&settings);
    assert!(start < more);
    for (limit, fit) in [
        (None, true),
        (Some(more), true),
        (Some(more - 1), false),
        (Some(0), false),
    ] {
        let refused = fits(&settings, start, limit);
        assert_eq!(refused.is_ok(), fit, "{limit:?}: {refused:?}");
    }
    assert_eq!(fits(&settings, more, Some(0)), Ok(()));
    assert!(limit().is_some_and(|bytes| bytes > MIB));
}

#[test]
fn the_least_limit_of_a_group_and_those_around_it_counts() {
    let root = testkit::Directory::temporary();
    let write = |group: &str, text: &str| {
        let file = root.join(group);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("system.slice/memory.max", "2000\n");
    write("system.slice/broker/memory.max", "max\n");
    write("small/memory.max", "100\n");
    write("memory/pod/memory.limit_in_bytes", "3000\n");
    write("memory/memory.limit_in_bytes", "9223372036854771712\n");
    for (groups, expected) in [
        ("0::/system.slice/broker\n", Some(2000)),
        ("0::/small\n", Some(100)),
        ("0::/\n", None),
        ("4:cpu:/small\n5:memory:/pod\n0::/\n", Some(3000)),
        ("5:memory:/\n", None),
        ("0::/gone/../small/deep\n", None),
        ("rubbish", None),
    ] {
        assert_eq!(limit_below(&root, groups), expected, "{groups}");
    }
}

#[test]
fn a_group_without_room_is_warned_of_with_the_connections_that_fit() {
    let all = Term {
        name: "all",
        count: 1,
        bytes: 100 * MIB,
        times: 1,
    };
    let terms = [all];
    let of = |mib: usize, connections| shortage(Some(mib * MIB), &terms, connections);
    assert_eq!(of(116, 1024), None);
    let text = of(116, 1025).unwrap();
    assert!(text.contains("allows 116 MiB of memory: room for 1024 connections beside 100 MiB"));
    assert!(of(50, 1).unwrap().contains("room for 0 connections"));
    assert_eq!(shortage(None, &terms, usize::MAX), None);
}
