//! Devices as operators see them: those that ask too often, and when authorities end.

use crate::things::fleet::Fleet;
use serde_json::json;
use testkit::until_true;

/// Devices of a fleet come to any shard: all count together.
#[test]
fn a_device_that_asks_again_and_again_is_served_and_listed_once() {
    let fleet = Fleet::start(3);
    let broker = &fleet.service.broker;
    let device = fleet.device("cam-1").named("cam-1");
    let other = fleet.device("cam-2").named("cam-2");
    let list = || broker.page("/refusals?limit=100").json();
    for nth in 1..=30 {
        assert_eq!(device.ask().expect("an answer").status, 200, "{nth}");
        if nth <= 20 {
            assert_eq!(other.ask().expect("an answer").status, 200, "{nth}");
        }
    }
    until_true("it is listed", || list()["refusals"][0].is_object());
    let list = list();
    let listed = list["refusals"].as_array().expect("a list");
    assert_eq!(listed.len(), 1, "{list}");
    let one = &listed[0];
    assert_eq!(one["check"], "thing_clock");
    assert_eq!(one["status"], 200);
    let told = one["policy"].as_str().expect("a text");
    testkit::assert_begins(&told, "clock? thing/cam-1 has signed in 20 times");
    let id = one["requestId"].as_str().expect("an id");
    let why = broker.page(&format!("/refusals/{id}")).json();
    assert_eq!(why["check"], json!("thing_clock"), "{why}");
    let metrics = broker.scrape();
    assert_eq!(
        metrics.sum("heliograph_refusals_total{check=\"thing_clock\"}"),
        1.0
    );
    let served = "heliograph_signins_total{kind=\"certificate\",outcome=\"ok\"}";
    assert_eq!(metrics.sum(served), 50.0);
    fleet.end();
}

#[test]
fn the_ends_of_authorities_and_their_lists_are_metrics() {
    let fleet = Fleet::start(1);
    let metrics = fleet.service.broker.page("/metrics").text();
    let value = |name: &str| {
        let mut lines = metrics.lines();
        let begin = format!("{name}{{authority=\"CN=devices\",key=\"");
        let line = lines.find(|line| line.starts_with(&begin)).expect(name);
        let value = line.rsplit(' ').next().expect("a value");
        value.parse::<f64>().expect("a number")
    };
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs_f64();
    assert_eq!(
        value("heliograph_device_authority_not_after_seconds"),
        67_090_118_400.0
    );
    let left = value("heliograph_device_crl_next_update_seconds") - now;
    assert!((80_000.0..=86_400.0).contains(&left), "{left}");
    fleet.end();
}
