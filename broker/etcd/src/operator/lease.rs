//! The lease that etcd grants.

use crate::config::Options;
use crate::operator::{Why, answer, block_on, connect};

/// Asks for a lease of this many seconds, and gives it back. Returns the seconds that etcd grants: more where its
/// elections take longer than two thirds of what was asked for.
///
/// # Errors
/// Why it grants none, in one line.
pub fn granted(options: &Options, seconds: i64) -> Result<i64, Box<str>> {
    block_on(async {
        let lines = connect(options).await?;
        let lease = answer(lines.grant(seconds)).await?;
        answer(lines.revoke(lease.id)).await?;
        Ok::<_, Why>(lease.ttl)
    })
}
