//! `--lan`: pages for phones of the local network, on the TLS listener where they connect as clients.
//!
//! The tests of [`inside`] and [`browser`] run in a network of their own, a namespace with the address 192.168.77.2,
//! in which a test of the outside starts them. Only root may make one: for anybody else they are skipped, and say so.

mod browser;
mod inside;

use crate::http::exchange;
use crate::process::{Broker, run_to_end};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// The script of a command in a network of its own: loopback, and an interface with this machine's address in a local
/// network that has a gateway. No address of IPv6 comes up a second later: a browser then ends what it is fetching.
const NETWORK: &str = "ip link set lo up && ip link add lan0 type veth peer name lan1 && \
    ip link set lan0 addrgenmode none && ip link set lan1 addrgenmode none && ip link set lan1 up && \
    ip addr add 192.168.77.2/24 dev lan0 && ip link set lan0 up && \
    ip route add default via 192.168.77.1 && exec \"$0\" \"$@\"";

/// Runs ignored tests of this binary in such a network, one after the other.
pub(crate) fn in_network(tests: &str) {
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        eprintln!("skipped: only root can make network namespaces");
        return;
    }
    let own = std::env::current_exe().expect("the path of this binary");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", NETWORK])
        .arg(own)
        .args([tests, "--ignored", "--test-threads", "1"])
        .output()
        .expect("unshare and ip");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{failed}");
    assert!(!said.contains("running 0 tests"), "{said}");
}

#[test]
fn pages_are_for_paired_devices_of_the_local_network() {
    in_network("pages::lan::inside::");
}

#[test]
fn it_is_for_development_and_names_an_address_of_this_machine() {
    let (code, said) = run_to_end(&["serve", "--lan"]);
    assert!(code == Some(2) && said.contains("--dev"), "{said}");
    for wrong in ["--lan=nonsense", "--lan=::1", "--lan="] {
        let (code, said) = run_to_end(&["serve", "--dev", wrong]);
        assert_eq!(code, Some(2), "{wrong}: {said}");
    }
    for (wrong, rule) in [
        ("--lan=127.0.0.1", "a private IPv4 address"),
        ("--lan=203.0.113.9", "a private IPv4 address"),
        ("--lan=192.168.254.253", "address of this machine"),
    ] {
        let (code, said) = run_to_end(&["serve", "--dev", wrong]);
        assert!(
            code == Some(2) && said.contains(rule) && said.contains("--lan"),
            "{wrong}: {said}"
        );
    }
}

/// Without it nothing but the client API is there, and nobody gets a code.
#[test]
fn without_it_a_tls_listener_serves_no_page() {
    let broker = Broker::dev(1);
    for path in ["/try", "/pair/CODE", "/overview", "/assets/try/try.css"] {
        let answer = inside::ask(&broker, broker.tls, &format!("GET {path}"), "", "");
        answer.refused(404, "UnknownOperationException");
    }
    let request = format!("POST /try/pair HTTP/1.1\r\nHost: {}\r\n\r\n", broker.admin);
    assert_eq!(exchange(broker.admin, request.as_bytes()).status, 404);
}
