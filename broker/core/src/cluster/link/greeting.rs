//! Whether the hello of the other side of a link is accepted.

use codec::link::Hello;
use strum::IntoStaticStr;

/// Why a hello is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Mismatch {
    /// An inner version that is no neighbour of this one.
    Version,
    /// Another cluster.
    Cluster,
    /// It is for another node.
    Node,
    /// It is for another process of this node.
    Process,
}

/// Whether the other side's hello fits the own one.
///
/// # Errors
/// The first thing in which it does not.
pub fn check_hello(own: &Hello<'_>, theirs: &Hello<'_>) -> Result<(), Mismatch> {
    let (me, meant) = (own.from, theirs.to);
    if own.version.abs_diff(theirs.version) > 1 {
        return Err(Mismatch::Version);
    }
    if own.cluster != theirs.cluster {
        return Err(Mismatch::Cluster);
    }
    if me.name != meant.name {
        return Err(Mismatch::Node);
    }
    let is_known = (meant.directory, meant.start) != (0, 0);
    if is_known && (me.directory, me.start) != (meant.directory, meant.start) {
        return Err(Mismatch::Process);
    }
    Ok(())
}
