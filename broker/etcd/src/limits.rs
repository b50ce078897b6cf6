//! Bounds and spans of the driver, with their reasons. Those of the rules are in [`broker_core::cluster::limits`].

use std::time::Duration;

/// From one tick of the core to the next. Half of what it allows, so that a late one is no gap.
pub const TICK: Duration = Duration::from_millis(250);

/// How long a connection to a member of etcd may take to come about, its TLS handshake included.
pub const CONNECT: Duration = Duration::from_secs(1);

/// From one HTTP/2 ping on an idle connection to the next. etcd closes connections that ping more often than every
/// 5 s.
pub const HTTP2_PING: Duration = Duration::from_secs(6);

/// How long the answer to an HTTP/2 ping may take.
pub const HTTP2_PONG: Duration = Duration::from_secs(2);

/// After this long without an answer to a keepalive or to a question for progress another member is asked. Together
/// with [`CONNECT`] well below a registration's life.
pub const SILENT: Duration = Duration::from_secs(2);

/// How long a call may take; the core counts its outcome as unknown by then.
pub const CALL: Duration = Duration::from_millis(broker_core::cluster::limits::CALL_MS);

/// Pause before a member is tried again, after the first attempt in a row that failed; doubles up to [`RETRY_MAX`].
pub const RETRY: Duration = Duration::from_millis(100);

/// Longest pause between attempts to connect. A change of the leader takes about as long.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Largest answer of etcd that is taken. All slots, registrations and members are about 600 KiB; a page of records of
/// the usual size half of that, of the largest tags far less than this.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Rows of one page when the records of a slot are loaded. At the largest tags they are 80 MiB, usually 500 KiB.
pub const PAGE_ROWS: i64 = 1_000;

/// Changes of records that wait for a batch, of all shards together. Full means that a change is refused; its owner
/// answers that the service is busy. At the largest tags they hold 80 MiB, usually 400 KiB.
pub const CHANGES_MAX: usize = 1_024;

/// Batches of changes under way.
pub const LANES: usize = 2;

/// Records that one batch puts: etcd takes 128 operations and 128 compares a transaction.
pub const PUTS_PER_BATCH: usize = 100;

/// Records that one batch removes. Each is compared, and so is its slot.
pub const REMOVALS_PER_BATCH: usize = 60;

/// Bytes of keys and values after which a batch takes no further change: etcd takes 1.5 MiB a request.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// How long a change waits to be sent while no batch is answered. Beyond it nothing was changed, and its owner answers
/// that the service is not available: with a tick that comes late, within a second.
pub const WRITE_WAIT_MS: u64 = 250;

/// How long a batch without a known outcome waits before it is sent again.
pub const WRITE_AGAIN_MS: u64 = 250;

/// Events of etcd that wait for the driver. Beyond it the streams that they come from are not read.
pub const EVENTS_MAX: usize = 64;

/// Messages of other nodes, and orders of the process, that wait for the driver. Further messages are lost, as on a
/// broken connection.
pub const MAIL_MAX: usize = 1_024;

/// Longest message between nodes: an answer about all slots is below 300 KiB, a parcel holds the pending messages of
/// one slot.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Longest name of a node or of a cluster, in bytes: that of a label in the domain name system.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest address of a node that the roster may hold, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// How long an ending node waits for its last calls and messages.
pub const LEAVE: Duration = Duration::from_secs(1);

/// How often at most the data directory is written because the revision rose.
pub const REMEMBER_MS: u64 = 1_000;

const _: () = {
    assert!(TICK.as_millis() * 2 <= broker_core::cluster::limits::TICK_MS as u128);
    assert!(SILENT.as_millis() < CALL.as_millis());
    assert!(PUTS_PER_BATCH < 128 && 2 * REMOVALS_PER_BATCH <= 128);
    assert!(broker_core::registry::ENCODED_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(WRITE_WAIT_MS as u128 + 2 * TICK.as_millis() <= 1_000);
};
