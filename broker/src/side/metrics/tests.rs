//! Tests that every series exists, that its samples add up, and that it follows the rules.

use super::*;
use crate::edge::EdgeCounts;
use crate::side::metrics::exposition::Kind;
use crate::side::metrics::{process, shards};
use crate::side::read_files::Reload;
use crate::side::shared_state::Status;
use broker_core::cluster::link::{Death, LinkFigures, LinkTable, PeerLinks};
use broker_core::event::{AuthFailure, Exemplar, Requested, UpgradeOutcome};
use broker_core::id::ShardId;
use codec::signal::Role;
use codec::sigv4::Reason;

fn report() -> Report {
    let scraped = |shard| Scraped {
        shard: ShardId(shard),
        snapshot: Snapshot::default(),
        edge: EdgeCounts::default(),
        links: LinkTable::new(),
    };
    let of = |ends: &[(&'static str, u64)]| Reload {
        ends: ends.to_vec(),
        ..Reload::default()
    };
    let listeners = of(&[
        ("listener", 1_800_000_005),
        ("listener_rsa", 1_800_000_000),
        ("authority", 7),
        ("authority", 6),
    ]);
    let etcd = of(&[("etcd", 9)]);
    Report {
        shards: vec![scraped(0), scraped(1)],
        busy_ratios: vec![0.25, 0.0],
        process: ProcessState {
            reloads: [("certificate", listeners), ("files of etcd", etcd)].into(),
            profile: "strict",
            engine: "epoll",
            started: 1_700_000_000,
            status: Status::Draining,
            budgets: [1, 5, 2, 3, 4],
            ..ProcessState::default()
        },
    }
}

/// The file `tests/data/golden/metrics.txt` contains the names, labels and help texts of all series.
#[test]
fn figures_of_the_process_are_shown() {
    let text = report().text(Format::Text);
    for series in [
        "heliograph_shard_busy_ratio{shard=\"0\"} 0.25",
        "heliograph_tls_not_after_seconds 1800000000",
        "heliograph_certificate_not_after_seconds{of=\"listener\"} 1800000005",
        "heliograph_certificate_not_after_seconds{of=\"listener_rsa\"} 1800000000",
        "heliograph_certificate_not_after_seconds{of=\"authority\"} 6",
        "heliograph_certificate_not_after_seconds{of=\"etcd\"} 9",
        "heliograph_status{status=\"draining\"} 1",
        "heliograph_status{status=\"starting\"} 0",
        "heliograph_budget_bytes{budget=\"outbox\"} 1",
        "heliograph_budget_bytes{budget=\"pending\"} 2",
        "heliograph_budget_bytes{budget=\"requests\"} 3",
        "heliograph_budget_bytes{budget=\"records\"} 4",
        "heliograph_data_dir_free_bytes NaN",
        "process_start_time_seconds 1700000000",
        "heliograph_cluster_valid_seconds 0",
        "heliograph_cluster_etcd_bytes 0",
        "heliograph_cluster_etcd_quota_bytes 0",
    ] {
        has(&text, series);
    }
}

#[test]
fn the_process_is_described() {
    let text = report().text(Format::Text);
    #[rustfmt::skip] // a list
    let cases = ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"];
    for name in cases {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .expect(name);
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value > 0.0, "{line}");
    }
}

#[test]
fn shards_are_added_up() {
    let mut report = report();
    for shard in &mut report.shards {
        shard.snapshot.connections[0] = 3;
        shard.snapshot.counters.received[1] = 5;
        shard.snapshot.counters.outbox_messages = 1;
        shard.snapshot.counters.outbox_bytes = 9;
        shard.snapshot.parked = 2;
        shard.edge.handovers = 7;
        (shard.edge.mailbox_refused, shard.edge.link_bytes_to_owner) = (3, 4);
        (shard.edge.turns, shard.edge.long_turns) = (900, 2);
    }
    report.shards[1].edge.longest_turn_us = 1_500;
    let text = report.text(Format::Text);
    for series in [
        "heliograph_connections{role=\"handshake\"} 6",
        "heliograph_messages_received_total{action=\"SDP_ANSWER\"} 10",
        "heliograph_handovers_total 14",
        "heliograph_mailbox_refused_total 6",
        "heliograph_outbox_messages 2",
        "heliograph_outbox_bytes 18",
        "heliograph_cluster_link_bytes_total{to=\"owner\"} 8",
        "heliograph_cluster_parked 4",
        "heliograph_turn_seconds 0.0015",
        "heliograph_turns_total 1800",
        "heliograph_turns_long_total 4",
    ] {
        assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
    }
}

#[test]
fn links_of_all_nodes_and_shards_are_added_up() {
    let links = |round_trip_ms| LinkFigures {
        links: 1,
        doubtful: 1,
        streams: 4,
        waiting_bytes: 5,
        held_bytes: 6,
        unconfirmed_bytes: 7,
        round_trip_ms,
    };
    let mut report = report();
    for shard in &mut report.shards {
        let [to, from] = [links(Some(25)), links(None)];
        let both = PeerLinks { to, from };
        shard.links = [("n2".into(), both), ("n3".into(), both)].into();
        shard.edge.link_deaths.count(Death::Idle);
    }
    let text = report.text(Format::Text);
    for series in [
        "heliograph_cluster_link_doubtful 8",
        "heliograph_cluster_link_deaths_total{reason=\"idle\"} 2",
        "heliograph_cluster_link_deaths_total{reason=\"silent\"} 0",
        "heliograph_cluster_link_round_trip_seconds 0.025",
        "heliograph_cluster_link_waiting_bytes{direction=\"to\"} 20",
        "heliograph_cluster_link_held_bytes{direction=\"from\"} 24",
        "heliograph_cluster_link_unconfirmed_bytes{direction=\"from\"} 28",
    ] {
        has(&text, series);
    }
}

fn text_of(snapshot: Snapshot) -> String {
    let mut report = report();
    report.shards[0].snapshot = snapshot;
    report.text(Format::Text)
}

fn has(text: &str, series: &str) {
    assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
}

#[test]
fn counters_have_their_labels() {
    let mut snapshot = Snapshot::default();
    let counters = &mut snapshot.counters;
    counters.upgrade(Role::Viewer, UpgradeOutcome::NotFound);
    counters.request(Requested::Unknown, 404);
    for status in [200, 200, 403] {
        counters.request(Requested::AssumeRole, status);
    }
    counters.auth_failure(AuthFailure::Signature(Reason::UnknownKey));
    counters.frame(12_000);
    counters.delivery.observe(16, 1);
    counters.delivery.observe(17, 2);
    counters.session_setup.observe(80_000_000, 1);
    let text = text_of(snapshot);
    for series in [
        "heliograph_upgrades_total{role=\"viewer\",outcome=\"not_found\"} 1",
        "heliograph_http_requests_total{operation=\"unknown\",status=\"404\"} 1",
        "heliograph_signins_total{kind=\"role\",outcome=\"ok\"} 2",
        "heliograph_signins_total{kind=\"role\",outcome=\"refused\"} 1",
        "heliograph_auth_failures_total{reason=\"unknown_key\"} 1",
        "heliograph_large_frames_total{over=\"10240\"} 1",
        "heliograph_large_frames_total{over=\"18750\"} 0",
        "heliograph_delivery_seconds_sum 0.00005",
        "heliograph_delivery_seconds_bucket{le=\"0.000016\"} 1",
        "heliograph_delivery_seconds_bucket{le=\"0.000032\"} 3",
        "heliograph_delivery_seconds_bucket{le=\"+Inf\"} 3",
        "heliograph_session_setup_seconds_bucket{le=\"67.108864\"} 0",
        "heliograph_session_setup_seconds_bucket{le=\"+Inf\"} 1",
    ] {
        has(&text, series);
    }
}

#[test]
fn the_build_is_described() {
    let text = report().text(Format::OpenMetrics);
    let line = text
        .lines()
        .find(|line| line.starts_with("heliograph_build_info{"));
    let line = line.expect("the metric");
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\",commit=\"");
    assert!(line.contains(version), "{line}");
    assert!(line.ends_with("\",profile=\"strict\"} 1"), "{line}");
    has(&text, "heliograph_engine{engine=\"epoll\"} 1");
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut seen = std::collections::BTreeSet::new();
    let shards = shards::METRICS
        .iter()
        .map(|row| (row.name, row.help, row.kind));
    let process = process::METRICS
        .iter()
        .map(|row| (row.name, row.help, row.kind));
    for (name, help, kind) in shards.chain(process) {
        assert!(seen.insert(name), "{name} twice");
        let total = name.ends_with("_total");
        assert_eq!(total, kind == Kind::Counter, "{name}");
        let known = name.starts_with("heliograph_") || name.starts_with("process_");
        assert!(known && !help.ends_with('.'), "{name}");
    }
}

/// If any shard has a slow set-up in an octave, the newest one is the exemplar. It names the shard and the connection.
#[test]
fn slow_session_setups_have_an_exemplar() {
    let mut report = report();
    for (shard, at) in report
        .shards
        .iter_mut()
        .zip([1_700_000_000_500, 1_700_000_000_250])
    {
        shard.snapshot.counters.session_setup.observe(3_000_000, 1);
        shard.snapshot.slow_setups.note(Exemplar {
            connection: 70 + u64::from(shard.shard.0),
            ms: 3_000,
            at_ms: at,
        });
        (shard.snapshot.recorded_since_us, shard.edge.clock_us) = (Some(500_000), 3_000_000);
    }
    let open = report.clone().text(Format::OpenMetrics);
    has(
        &open,
        "heliograph_session_setup_seconds_bucket{le=\"4.194304\"} 2 # {shard=\"0\",connection=\"70\"} 3 \
         1700000000.500",
    );
    assert_eq!(open.matches(" # ").count(), 1);
    let text = report.text(Format::Text);
    has(
        &text,
        "heliograph_session_setup_seconds_bucket{le=\"4.194304\"} 2",
    );
    has(&text, "heliograph_recorder_reach_seconds{shard=\"1\"} 2.5");
}
