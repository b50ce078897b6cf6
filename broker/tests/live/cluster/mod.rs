//! Several nodes with a fixed map: what each passes on to the others, and what it does when they do not answer.
//!
//! * [`calls`]: calls through another node, and nodes that end.
//! * [`crowded`]: a node whose connections are used up by one tenant.
//! * [`meeting`]: what must work, through any node.
//! * [`inner`]: the test in the place of the other node: strangers, garbage, silence, other keys and versions, bounds.
//! * [`shared`]: what follows from the secret on each node, and names of nodes.
//! * [`streams`]: clients as streams of links.
//! * [`stopped`]: one that is stopped and goes on, and what it held.
//! * [`trouble`]: two nodes of which one is slow, gone, or of another opinion.

mod calls;
mod crowded;
mod inner;
mod meeting;
pub(crate) mod nodes;
mod shared;
mod stopped;
mod streams;
mod trouble;
