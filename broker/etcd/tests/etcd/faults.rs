//! What moves slots, and what must not.

use crate::server::{self, Etcd};
use crate::world::{Node, World, never, wait};
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::Epoch;
use std::time::Duration;

const ALL: usize = SLOTS as usize;
const FIRST: Duration = Duration::from_secs(40);

/// The slots and epochs that two nodes know after the first claim.
struct Two {
    etcd: Etcd,
    world: World,
    n1: Node,
    n2: Node,
    before: Vec<Epoch>,
}

impl Two {
    fn start() -> Self {
        Self::start_in(World::default())
    }

    fn start_in(world: World) -> Self {
        let etcd = Etcd::start();
        let [n1, n2] = ["n1", "n2"].map(|name| world.node(name, &etcd));
        world.all_served(FIRST);
        wait("both know all slots", Duration::from_secs(10), || {
            n1.epochs() == n2.epochs()
        });
        let before = n1.epochs();
        Self {
            etcd,
            world,
            n1,
            n2,
            before,
        }
    }

    /// Nothing moved, and everything is served.
    fn unmoved(&self) {
        assert_eq!(self.world.served(), ALL, "all slots are served");
        for node in [&self.n1, &self.n2] {
            let moved = node
                .epochs()
                .iter()
                .zip(&self.before)
                .filter(|(one, other)| one != other)
                .count();
            assert_eq!(moved, 0, "slots that moved, as {} knows", node.process());
        }
        self.world.sound();
        assert_eq!(self.world.book().alone, 0);
    }

    fn has_etcd(&self) -> bool {
        [&self.n1, &self.n2]
            .iter()
            .all(|node| node.inspect().has_etcd)
    }

    fn is_registered(&self) -> bool {
        let live = self
            .etcd
            .ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/live/"]);
        live.contains("n1") && live.contains("n2")
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_lease_revoked_by_hand_moves_nothing() {
    if !server::is_installed() {
        return;
    }
    let two = Two::start();
    let leases = two.etcd.ctl(&["lease", "list"]);
    let leases: Vec<&str> = leases.lines().filter(|line| line.len() == 16).collect();
    assert_eq!(leases.len(), 2, "{leases:?}");
    for lease in leases {
        two.etcd.ctl(&["lease", "revoke", lease]);
    }
    let took = wait("both are registered again", Duration::from_secs(5), || {
        two.is_registered()
    });
    eprintln!("registered again after {took:?}");
    // Longer than a taker waits.
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn an_etcd_that_freezes_longer_than_a_lease_moves_nothing() {
    if !server::is_installed() {
        return;
    }
    let two = Two::start();
    two.etcd.freeze();
    wait("they notice", Duration::from_secs(10), || {
        !two.n1.inspect().has_etcd && !two.n2.inspect().has_etcd
    });
    never("a slot was released", Duration::from_secs(15), || {
        two.world.served() != ALL
    });
    two.etcd.thaw();
    wait("both have etcd again", Duration::from_secs(20), || {
        two.has_etcd() && two.is_registered()
    });
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn without_etcd_running_nodes_go_on_and_with_it_they_know_what_happened() {
    if !server::is_installed() {
        return;
    }
    let mut two = Two::start();
    two.etcd.kill();
    wait("they notice", Duration::from_secs(10), || {
        !two.n1.inspect().has_etcd && !two.n2.inspect().has_etcd
    });
    assert!(two.n1.inspect().trouble.is_some());
    never("a slot was released", Duration::from_secs(20), || {
        two.world.served() != ALL
    });
    two.etcd.restart();
    let took = wait("both have etcd again", Duration::from_secs(20), || {
        two.has_etcd() && two.is_registered()
    });
    eprintln!("etcd back: registered again after {took:?}");
    assert_eq!(two.n1.inspect().trouble, None);
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn the_slots_of_a_lost_host_are_served_elsewhere_within_15_s() {
    lose_a_host(World::default());
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn the_slots_of_a_lost_host_are_served_elsewhere_over_tcp() {
    lose_a_host(World::over_tcp());
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn without_etcd_nodes_keep_each_other_going_over_tcp() {
    if !server::is_installed() {
        return;
    }
    let mut two = Two::start_in(World::over_tcp());
    two.etcd.kill();
    wait("they notice", Duration::from_secs(10), || {
        !two.n1.inspect().has_etcd && !two.n2.inspect().has_etcd
    });
    // Without messages both would be alone by the end of this.
    let go_on = |node: &Node| node.inspect().standing == Standing::Answered;
    never(
        "a node did without answers",
        Duration::from_secs(20),
        || !go_on(&two.n1) || !go_on(&two.n2) || two.world.served() != ALL,
    );
    // The next process has another port: the roster has it as soon as etcd is back.
    two.n1.crash();
    two.etcd.restart();
    two.n1.start(false);
    wait("all is served again", Duration::from_secs(30), || {
        two.world.served() == ALL
    });
    two.etcd.kill();
    wait("they notice", Duration::from_secs(10), || {
        !two.n1.inspect().has_etcd && !two.n2.inspect().has_etcd
    });
    never(
        "a node did without answers",
        Duration::from_secs(15),
        || !go_on(&two.n1) || !go_on(&two.n2),
    );
    two.world.sound();
}

fn lose_a_host(world: World) {
    if !server::is_installed() {
        return;
    }
    let mut two = Two::start_in(world);
    let lost = two.n1.serves();
    let kept = two.n2.serves();
    two.n1.crash();
    let taken = wait(
        "all slots are owned elsewhere",
        Duration::from_secs(15),
        || two.n2.inspect().owned == ALL,
    );
    let served = wait(
        "all slots are served elsewhere",
        Duration::from_secs(5),
        || two.n2.serves() == ALL,
    );
    eprintln!("host loss: {lost} slots owned elsewhere after {taken:?}, served {served:?} later");
    let after = two.n2.epochs();
    let moved = after
        .iter()
        .zip(&two.before)
        .filter(|(one, other)| one != other)
        .count();
    assert_eq!(moved, lost, "only the lost slots moved, {kept} were kept");
    two.world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_watch_whose_revisions_are_compacted_is_followed_by_a_whole_read() {
    if !server::is_installed() {
        return;
    }
    let two = Two::start();
    // While both are cut off from etcd, a member is removed from the roster and all history with it.
    two.etcd.ctl(&[
        "put",
        "/heliograph/test/roster/n9",
        r#"{"format":1,"address":"x","state":"here"}"#,
    ]);
    two.etcd.freeze();
    wait("they notice", Duration::from_secs(10), || !two.has_etcd());
    two.etcd.thaw();
    let status = two.etcd.ctl(&[
        "put",
        "/heliograph/test/roster/n8",
        r#"{"format":1,"address":"x","state":"here"}"#,
    ]);
    assert!(status.contains("OK"));
    let header = two
        .etcd
        .ctl(&["get", "--write-out", "json", "/heliograph/test/roster/n8"]);
    let revision = header.split(r#""revision":"#).nth(1).unwrap();
    let revision: String = revision.chars().take_while(char::is_ascii_digit).collect();
    two.etcd.ctl(&["compact", &revision]);
    wait("both have etcd again", Duration::from_secs(20), || {
        two.has_etcd() && two.is_registered()
    });
    never("a slot moved", Duration::from_secs(15), || {
        two.n1.epochs() != two.before
    });
    two.unmoved();
}
