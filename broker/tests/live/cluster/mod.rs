//! Several nodes with a fixed map: what each passes on to the others, and what it does when they do not answer.
//!
//! * [`ahead`]: connections between nodes that are opened before they are needed.
//! * [`crowded`]: a node whose connections are used up by one tenant.
//! * [`kept`], [`frames`]: calls over connections between nodes that are kept; the test in the place of one node.
//! * [`meeting`]: what must work, through any node.
//! * [`owner`]: a node whose owner is the test: what it sends, and what the owner may do to it.
//! * [`inner`]: a node whose inner port the test connects to: garbage, silence, forged and used headers, bounds.
//! * [`records`]: TLS records of an owner that come in pieces.
//! * [`returned`]: connections between nodes that outlive a WebSocket; the test in the place of one node.
//! * [`secured`]: the same with TLS between the nodes.
//! * [`shared`]: what follows from the secret on each node, and names of nodes.
//! * [`streams`]: clients as streams of links.
//! * [`stopped`]: one that is stopped and goes on, and what it held.
//! * [`trouble`]: two nodes of which one is slow, gone, or of another opinion.

mod ahead;
mod crowded;
mod frames;
mod inner;
mod kept;
mod meeting;
pub(crate) mod nodes;
mod owner;
mod records;
mod returned;
mod secured;
mod shared;
mod stopped;
mod streams;
mod trouble;
