//! Connections between nodes: where the others are and how they prove who they are, connections that another node
//! passes on to this one, and those that this node passes on.

pub(super) mod inner;
pub(super) mod lease;
pub(super) mod links;
pub(super) mod tunnel;
