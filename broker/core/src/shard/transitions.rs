//! The transitions of sessions and of channels as tables, made by driving a shard, and compared with the snapshots in
//! `tests/transitions/`.
//!
//! After a change that is meant: `RENEW=1 cargo test -p broker-core --lib transitions`, then look at the difference.

mod channel;
mod session;

use crate::id::ChannelKey;
use crate::registry::{Change, Store, StoreError, Submitted};
use codec::identifiers::ChannelArn;

const SNAPSHOT_NOTE: &str = "Made by src/shard/transitions/, which says how to renew it.";

/// Compares a table with its snapshot, or renews that.
#[expect(
    clippy::disallowed_methods,
    reason = "a test reads its snapshot, and writes it when asked to"
)]
fn compare(name: &str, table: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transitions");
    let path = format!("{folder}/{name}.txt");
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, table).unwrap();
    }
    let snapshot = std::fs::read_to_string(&path).unwrap();
    for (line, (made, kept)) in table.lines().zip(snapshot.lines()).enumerate() {
        assert_eq!(made, kept, "line {} of {path}", line + 1);
    }
    assert_eq!(
        table.lines().count(),
        snapshot.lines().count(),
        "lines of {path}"
    );
}

/// Has every change wait until a letter reports its end.
struct Slow;

impl Store for Slow {
    fn submit(&mut self, _of: ChannelKey, _change: Change<'_>) -> Result<Submitted, StoreError> {
        Ok(Submitted::Later)
    }
}

fn arn(name: &str) -> ChannelArn {
    let arn = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/1700000000000");
    ChannelArn::parse(&arn, false).unwrap()
}
