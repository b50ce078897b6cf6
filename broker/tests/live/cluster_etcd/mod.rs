//! Three nodes that agree in an etcd on who owns what; all of it on loopback. `deploy/ci/check.sh` runs them by
//! name.
//!
//! * [`meeting`]: what must work, through any node.
//! * [`lists`]: what all nodes answer together; [`forgets`]: what they forget together.
//! * [`disconnect`]: what one of them is to do for another.
//! * [`moves`]: a node that drains, that is killed.
//! * [`front`]: a node that ends in front of clients of others' channels, and all nodes that end together.
//! * [`slot_lines`]: what the log says of slots.
//! * [`operator`]: what an operator asks of nodes through etcd.
//! * [`ports`]: the ports that nodes reach each other at.
//! * [`trouble`]: etcd is gone; a node is stopped and goes on.
//! * [`waits`]: requests whose owner is away for a moment, or for longer, and many of them.
//! * [`capacity`]: etcd that is nearly full; [`certificates`]: client certificates that end.
//! * [`quotas`]: what an account may have and ask for on all nodes; [`signed`]: nodes that check signatures.

mod capacity;
mod certificates;
mod disconnect;
mod forgets;
mod front;
mod lists;
mod meeting;
mod moves;
pub(crate) mod nodes;
mod operator;
mod ports;
mod quotas;
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests of broker-etcd, which need all of it"
)]
#[path = "../../../etcd/tests/etcd/server.rs"]
pub(crate) mod server;
mod signed;
mod slot_lines;
mod trouble;
mod waits;
