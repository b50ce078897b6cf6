//! Tests nodes on a real etcd. Each test starts its own etcd on loopback, with a directory of its own.
//!
//! | module | what it shows |
//! |---|---|
//! | `claims` | slots are claimed, transferred, and claimed again by the same node |
//! | `fuzz` | mutated messages between nodes are handled; needs no etcd |
//! | `faults` | which faults move slots, and which must not |
//! | `records` `contract` | the registry: the contract of all stores, and what is specific to etcd |
//! | `history` | another etcd or another cluster: nothing is claimed, nothing is written |
//! | `identity` | the proofs of registrations: nodes with another secret are refused |
//! | `input` | names that are taken, foreign keys, operators' orders, an etcd without a majority |
//! | `members` | three members of etcd, one of which freezes |
//! | `secured` | etcd with TLS, and with users |
//! | `namesakes` | several machines under the same name |
//! | `network` | a transport for messages between the nodes of one process, without sockets |
//! | `proxy` | a proxy for connections to etcd that can be blocked |
//! | `server` | the program `etcd` |
//! | `world` | the nodes of a test, and what they serve |
//! | `clusters` | one or two nodes that serve every slot, with an etcd of their own |

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
