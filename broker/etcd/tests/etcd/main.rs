//! Nodes against a real etcd, which each test starts on loopback with a directory of its own.
//!
//! | module | what it shows |
//! |---|---|
//! | `claims` | slots are claimed, given, and claimed again by the same node |
//! | `fuzz` | messages between nodes that nobody wrote: without etcd |
//! | `faults` | what moves slots, and what must not |
//! | `records` `contract` | the registry: what every store holds to, and what is etcd's own |
//! | `history` | another etcd, another cluster: nothing is claimed, nothing is written |
//! | `identity` | the proofs of registrations: nodes with another secret |
//! | `input` | names that are taken, keys of others, orders of operators, an etcd without a majority |
//! | `members` | three members of etcd, of which one freezes |
//! | `secured` | etcd behind TLS, and with users |
//! | `namesakes` | several machines under one name |
//! | `network` | messages between the nodes of a process, without sockets |
//! | `proxy` | a connection to etcd that can be held up |
//! | `server` | the program `etcd` |
//! | `world` | the nodes of a test, and what they serve |
//! | `clusters` | one node or two that serve every slot, with an etcd of their own |

#![expect(clippy::unwrap_used, reason = "a test fails where it is")]

mod claims;
mod clusters;
#[path = "../../../tests/contract/store.rs"]
mod contract;
mod faults;
mod fuzz;
mod history;
mod identity;
mod input;
mod members;
mod namesakes;
mod network;
mod proxy;
mod records;
mod secured;
#[expect(dead_code, reason = "tests of whole brokers use the rest of it")]
mod server;
mod world;
