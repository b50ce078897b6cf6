//! Clients for whom `localhost` is `::1` first, or alone, as hosts files of Debian have it: scripts of node, which
//! tries the first address only, as node 18 does. Each runs in a mount namespace whose `/etc/hosts` is such a file; for
//! root only.

use super::{alone, node_script, run};
use crate::process::{Broker, directory};
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use testkit::Directory;

/// The file that Debian's installer writes.
const INSTALLER: &str = "127.0.0.1\tlocalhost\n127.0.1.1\tdebian.example\tdebian\n\n\
                         # The following lines are desirable for IPv6 capable hosts\n\
                         ::1     localhost ip6-localhost ip6-loopback\n\
                         ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n";

/// The lines that its package netbase writes where there is no file, less that of 127.0.0.1, which comes second there.
const NETBASE: &str = "::1     localhost ip6-localhost ip6-loopback\n\
                       fe00::0 ip6-localnet\nff00::0 ip6-mcastprefix\n\
                       ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n";

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn readme_session_under_hosts_files_of_debian() {
    each_hosts_file(|hosts| run(hosts.of(node_script("readme.mjs")), &Broker::dev(1)));
}

/// The README of deploy/testing/js among them.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn node_helper_under_hosts_files_of_debian() {
    each_hosts_file(|hosts| alone(hosts.of(node_script("helper.mjs"))));
}

/// Does something with each hosts file, where that can be done.
fn each_hosts_file(script: impl Fn(&Hosts)) {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        return eprintln!("skipped: this machine has no ::1: {error}");
    }
    for text in [INSTALLER, NETBASE] {
        let hosts = Hosts::new(text);
        let output = hosts.of(Command::new("cat")).arg("/etc/hosts").output();
        match output {
            Ok(output) if output.stdout == text.as_bytes() => script(&hosts),
            other => return eprintln!("skipped: no hosts file can be mounted here: {other:?}"),
        }
    }
}

/// A hosts file, removed on drop.
struct Hosts(Directory);

impl Hosts {
    fn new(text: &str) -> Self {
        let directory = directory();
        fs::write(directory.join("hosts"), text).expect("a file under target/");
        Self(directory)
    }

    /// A command where this is the hosts file, and where node tries the first address of a name only.
    fn of(&self, command: Command) -> Command {
        let mut within = Command::new("unshare");
        let mount = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        within
            .args(["--mount", "sh", "-c", mount])
            .arg(self.0.join("hosts"))
            .arg(command.get_program())
            .args(command.get_args())
            .env("NODE_OPTIONS", first_address_only());
        for (name, value) in command.get_envs() {
            within.env(name, value.unwrap_or_default());
        }
        within
    }
}

/// Options of node. Before version 20 there are no further addresses to be turned off.
fn first_address_only() -> &'static str {
    let options = "--dns-result-order=verbatim --no-network-family-autoselection";
    let mut node = Command::new("node");
    let tried = node.arg("--version").env("NODE_OPTIONS", options).output();
    match tried {
        Ok(output) if output.status.success() => options,
        Ok(_) | Err(_) => "--dns-result-order=verbatim",
    }
}
