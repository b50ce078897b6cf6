//! Connections between nodes: where the others are and how they prove who they are, connections that another node
//! passes on to this one, and those that this node passes on.

pub(crate) mod inner;
pub(crate) mod lease;
pub(crate) mod links;
pub(crate) mod tunnel;
