//! Receivers that fail in every way: their own events are late, and nobody else's.

use super::receiver::{Event, Receiver, ok, respond};
use super::{BOTH, broker, broker_of};
use crate::http::get;
use crate::peer::{Peer, offer, to_master};
use crate::process::{Broker, arn};
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use testkit::{until_true, until_within};

fn redirects(_: usize, event: &Event, to: &mut TcpStream) {
    let place = format!("location: http://127.0.0.1:1/{}\r\n", event.path);
    respond(to, "302 Found", &place);
}

fn resets(_: usize, _: &Event, to: &mut TcpStream) {
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn hangs(_: usize, _: &Event, _: &mut TcpStream) {
    thread::sleep(Duration::from_secs(60));
}

/// A body without end.
fn floods(_: usize, _: &Event, to: &mut TcpStream) {
    let _ = to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
    let block = [b'x'; 65_536];
    while to.write_all(&block).is_ok() {}
}

fn is_gone(_: usize, _: &Event, to: &mut TcpStream) {
    respond(to, "410 Gone", "");
}

fn result(broker: &Broker, hook: &str, result: &str) -> f64 {
    let series = format!("heliograph_hook_deliveries_total{{hook=\"{hook}\",result=\"{result}\"}}");
    broker.scrape().sum(&series)
}

fn reaches(broker: &Broker, hook: &str, what: &str, least: f64) {
    until_true(what, || result(broker, hook, what) >= least);
}

/// Channels of which something waits for a hook, and for how many seconds the oldest of it has waited.
fn waiting(broker: &Broker, hook: &str) -> [f64; 2] {
    let scrape = broker.scrape();
    let label = format!("hook=\"{hook}\"");
    ["heliograph_hook_waiting", "heliograph_hook_oldest_seconds"]
        .map(|name| scrape.sum_with(name, &label))
}

fn nothing_waits(broker: &Broker, hook: &str) {
    until_true("nothing to wait", || waiting(broker, hook) == [0.0, 0.0]);
}

/// One receiver that hangs, resets, redirects or floods does not keep another waiting, nor a message.
#[test]
fn a_bad_receiver_delays_its_own_events_alone() {
    let good = Receiver::start(ok);
    let bad: Vec<Receiver> = [redirects, resets, hangs, floods]
        .map(Receiver::start)
        .into();
    let names = ["redirects", "resets", "hangs", "floods"];
    let urls: Vec<String> = bad.iter().map(|receiver| receiver.url("/")).collect();
    let good_url = good.url("/");
    let mut hooks: Vec<_> = names
        .iter()
        .zip(&urls)
        .map(|(name, url)| (*name, &**url, BOTH))
        .collect();
    hooks.push(("good", &good_url, BOTH));
    let broker = broker_of(&hooks, 1);
    for nth in 0..20 {
        let arn = arn(&format!("cam-{nth}"));
        let mut viewer = Peer::viewer(&broker, &arn, "v1");
        let sent = Instant::now();
        viewer.send(&offer("b2ZmZXI="));
        let wake = good.next("channel.wake");
        assert!(wake.at - sent < Duration::from_secs(5));
        let mut master = Peer::master(&broker, &arn);
        master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    }
    reaches(&broker, "redirects", "refused", 2.0);
    reaches(&broker, "resets", "retried", 2.0);
    reaches(&broker, "hangs", "retried", 2.0);
    reaches(&broker, "floods", "delivered", 2.0);
    let [channels, seconds] = waiting(&broker, "hangs");
    assert!(channels > 0.0 && seconds > 0.0, "{channels}, {seconds} s");
    nothing_waits(&broker, "good");
    let page = get(broker.admin, "/hooks").json();
    let state = |name: &str| {
        let hooks = page["hooks"].as_array().expect("a list").iter();
        let mut found = hooks.filter(|hook| hook["name"] == name);
        found.next().map(|hook| hook["state"].clone())
    };
    assert_eq!(state("good"), Some("ok".into()));
    assert_eq!(state("hangs"), Some("failing".into()));
    assert_eq!(state("redirects"), Some("failing".into()));
    let shown = page.to_string() + &get(broker.admin, "/config").text() + &broker.log();
    assert!(!shown.contains("MfKQ9r8GKYqr"), "a secret is shown");
}

#[test]
fn a_receiver_that_is_gone_gets_nothing_until_a_reload() {
    let receiver = Receiver::start(is_gone);
    let broker = broker(&receiver, BOTH, 1);
    receiver.next("node.started");
    until_true("the state", || {
        broker.scrape().sum("heliograph_hook_off{hook=\"home\"}") == 1.0
    });
    let _master = Peer::master(&broker, &arn("cam-1"));
    assert!(receiver.all().is_empty());
    broker.signal("HUP");
    broker.logged(&["files of hooks reloaded"], 1);
    let _viewer = Peer::viewer(&broker, &arn("cam-1"), "v1");
    receiver.next("channel.presence");
}

#[test]
fn files_of_hooks_that_are_broken_leave_the_former_in_force() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, BOTH, 1);
    receiver.next("node.started");
    let config = get(broker.admin, "/config").json();
    let secret = config["hook"][0]["secret_file"].as_str().expect("a path");
    std::fs::write(secret, "no secret\n").expect("our file");
    broker.logged(&["the files of hooks stays as it was"], 1);
    let refused = "heliograph_reload_ok{what=\"files of hooks\"}";
    assert_eq!(broker.scrape().sum(refused), 0.0);
    let _master = Peer::master(&broker, &arn("cam-1"));
    receiver.next("channel.presence");
}

#[test]
fn a_delivery_that_fails_for_longer_than_it_is_retried_is_given_up() {
    let receiver = Receiver::start(fails);
    let broker = broker(&receiver, &format!("{BOTH}\nretry_for = \"1s\""), 1);
    // By default it is retried for a minute.
    until_within(Duration::from_secs(20), "the end of retries", || {
        (result(&broker, "home", "gave_up") >= 1.0).then_some(())
    });
    nothing_waits(&broker, "home");
    let mut retried = result(&broker, "home", "retried");
    let first = receiver.next("node.started");
    while retried > 0.5 {
        assert_eq!(receiver.next("node.started").id, first.id);
        retried -= 1.0;
    }
    assert!(receiver.all().is_empty(), "a request after the last");
}

fn fails(_: usize, _: &Event, to: &mut TcpStream) {
    respond(to, "500 Internal Server Error", "");
}
