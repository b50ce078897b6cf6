//! Validation of the other side's hello.

use codec::link::Hello;
use strum::IntoStaticStr;

/// Why a hello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Mismatch {
    /// The peer's inner version is neither equal nor adjacent.
    Version,
    /// The hello is from another cluster.
    Cluster,
    /// The hello is addressed to another node.
    Node,
    /// The hello is addressed to another process of this node.
    Process,
}

/// Compares the other side's hello with this side's.
///
/// # Errors
/// The first mismatch.
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
