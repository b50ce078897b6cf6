//! Notifications to a service manager (sd_notify(3)), on a socket of the test in systemd's place.

use crate::process::Broker;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

#[test]
fn a_service_manager_follows_start_reload_life_and_end() {
    let name = format!("heliograph-live-{}", std::process::id());
    let addr = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&addr).expect("a free name");
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a read timeout");
    let mut broker = Broker::supervised(&format!("@{name}"), Duration::from_secs(10));
    assert_eq!(told(&manager), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(&manager), "WATCHDOG=1", "while every shard answers");
    }
    broker.signal("HUP");
    let since = told_next(&manager)
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .and_then(|since| since.parse::<u64>().ok());
    assert!(since.is_some_and(|since| since > 0));
    assert_eq!(told_next(&manager), "READY=1");
    broker.signal("TERM");
    assert_eq!(told_next(&manager), "STOPPING=1");
    assert_eq!(broker.ended_within(Duration::from_secs(10)).code(), Some(0));
}

fn told(manager: &UnixDatagram) -> String {
    let mut text = [0; 256];
    let length = manager.recv(&mut text).expect("told in time");
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// The next but signs of life.
fn told_next(manager: &UnixDatagram) -> String {
    loop {
        let text = told(manager);
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}
