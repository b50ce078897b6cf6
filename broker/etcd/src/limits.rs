//! Limits and timeouts of the driver, with the reasons for their values. Those of the core are in
//! [`broker_core::cluster::limits`].

use std::time::Duration;

/// Interval between ticks of the core: half of the maximum that the core allows, so that a late tick leaves no gap.
pub const TICK: Duration = Duration::from_millis(250);

/// Timeout for connecting to an etcd member, including the TLS handshake.
pub const CONNECT: Duration = Duration::from_secs(1);

/// Interval between HTTP/2 pings on a connection with unanswered calls. etcd closes connections that ping more often
/// than every 5 s, or while no call is in flight.
pub const HTTP2_PING: Duration = Duration::from_secs(6);

/// Timeout for the answer to an HTTP/2 ping.
pub const HTTP2_PONG: Duration = Duration::from_secs(2);

/// Idle time after which the kernel probes the peer of a connection. The connection for records may be unused for hours
/// before a host is lost together with an etcd member and its slots must be loaded; with [`PROBES`], a dead connection
/// is abandoned before the shortest lease expires.
pub const PROBE: Duration = Duration::from_secs(2);

/// Interval between kernel probes while they remain unanswered.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// Number of unanswered probes after which the connection is closed.
pub const PROBES: u32 = 3;

/// Time without an answer to a keepalive or a progress request after which another member is used. Together with
/// [`CONNECT`], this is well below the lifetime of a registration.
pub const SILENT: Duration = Duration::from_secs(2);

/// Timeout of a call, after which the core treats its outcome as unknown.
pub const CALL: Duration = Duration::from_millis(broker_core::cluster::limits::CALL_MS);

/// Delay before a member is retried after the first of consecutive failures; doubles up to [`RETRY_MAX`].
pub const RETRY: Duration = Duration::from_millis(100);

/// Maximum delay between connection attempts, roughly the duration of a leader change.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Maximum size of a response accepted from etcd, in bytes. All slots, registrations and members together take about
/// 600 KiB; a page of typical records takes half of that, and one with the largest tags far less than this limit.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Number of rows per page of an export: typically 500 KiB, 80 MiB with the largest tags.
pub const PAGE_ROWS: i64 = 1_000;

/// Number of rows per page when loading the records of a slot, with up to [`LOADS_MAX`] loads at a time. With a million
/// channels, a slot has about 244.
///
/// [`LOADS_MAX`]: broker_core::cluster::limits::LOADS_MAX
pub const LOAD_ROWS: i64 = 250;

/// Maximum number of record changes waiting for a batch, across all shards. Beyond it, changes are refused and the
/// caller is informed that the service is busy. They typically take 400 KiB, or 80 MiB with the largest tags.
pub const CHANGES_MAX: usize = 1_024;

/// Maximum number of change batches in flight.
pub const LANES: usize = 2;

/// Maximum number of records put in one batch; etcd accepts 128 operations and 128 compares per transaction.
pub const PUTS_PER_BATCH: usize = 100;

/// Maximum number of import transactions in flight; etcd combines several into one disk write.
pub const IMPORT_BATCHES_UNDER_WAY: usize = 8;

/// Maximum number of records removed in one batch, each with one compare for the record and one for its slot.
pub const REMOVALS_PER_BATCH: usize = 60;

/// Total size of keys and values, in bytes, from which a batch accepts no further changes; etcd accepts 1.5 MiB per
/// request.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Maximum time that a change waits to be sent while no batch is answered, in milliseconds. After that, it is discarded
/// and the caller is informed that the service is unavailable; even with a late tick, this takes less than a second.
pub const WRITE_WAIT_MS: u64 = 250;

/// Time after which a batch with an unknown outcome is resent, in milliseconds.
pub const WRITE_AGAIN_MS: u64 = 250;

/// Maximum number of etcd events queued for the driver. Beyond it, the streams that produce them are not read.
pub const EVENTS_MAX: usize = 64;

/// Maximum number of messages from other nodes, and of orders from the process, queued for the driver. Any more are
/// lost, as on a broken connection.
pub const MAIL_MAX: usize = 1_024;

/// Maximum total size of messages from other nodes queued for the driver, in bytes. Any more are lost.
pub const MAIL_BYTES_MAX: usize = 64 << 20;

/// Maximum length of a message between nodes, in bytes. An answer about all slots takes less than 300 KiB, and a parcel
/// contains the pending messages of one slot, up to [`PARCEL_MESSAGE_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a JSON value in etcd, in bytes. Our values take several hundred bytes, a report in a cluster of 256
/// nodes about 20 KiB; later versions may use more.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Maximum number of nodes whose links are included in a node's report, at most about 250 bytes each, so that the
/// report stays within [`VALUE_BYTES_MAX`].
pub const REPORTED_LINKS_MAX: usize = 128;

/// Maximum size of the pending messages sent in a single message, in bytes; larger parcels are sent in parts.
pub const PARCEL_MESSAGE_BYTES_MAX: usize = 12 << 20;

/// Size of a part of a parcel, in bytes.
pub const PART_BYTES: usize = 4 << 20;

/// Maximum number of parts of a parcel.
pub const PARTS_MAX: usize = 12;

/// Time after which an unacknowledged part is resent, in milliseconds.
pub const PART_AGAIN_MS: u64 = 500;

/// Maximum duration of sending a parcel in parts, and maximum time for which an incomplete parcel is kept after its
/// most recent part arrived, in milliseconds. Longer than the transfer waits for the parcel.
pub const PARTS_KEPT_MS: u64 = 5_000;

/// Maximum number of parcels being sent in parts; the transfer of any more is retried later.
pub const SENDING_MAX: usize = 2 * broker_core::cluster::limits::TRANSFERS_MAX;

/// Maximum length of a node or cluster name in bytes, the same as for a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

/// Maximum length of a node's address in the roster, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Maximum number of ports per node in the roster: one for each shard that a node may have. Any more are ignored.
pub const INNER_PORTS_MAX: usize = broker_core::limits::SHARDS_MAX;

/// Interval between lookups of a node's host name, in milliseconds.
pub const LOOK_UP_EVERY_MS: u64 = 30_000;

/// Delay before another lookup if the previous one found nothing or the node cannot be reached, in milliseconds.
pub const LOOK_UP_AGAIN_MS: u64 = 3_000;

/// Time without an answer from the system's resolver after which the delay is logged, in milliseconds.
pub const LOOK_UP_LATE_MS: u64 = 5_000;

/// Maximum number of names being looked up, each on its own thread. Any more wait.
pub const LOOK_UPS_MAX: usize = 32;

/// Maximum number of addresses used per name.
pub const HOST_ADDRESSES_MAX: usize = 8;

/// Time that a node that is shutting down allows for its last calls and messages.
pub const LEAVE: Duration = Duration::from_secs(1);

/// Timeout for querying the state of a node.
pub const INSPECT: Duration = Duration::from_secs(1);

/// Minimum interval, in milliseconds, between writes of the data directory that are made only because the revision has
/// increased.
pub const REMEMBER_MS: u64 = 1_000;

/// Maximum number of messages queued for the connection to another node: several seconds of queries and answers, plus
/// the parcels of a drain. Any more are lost.
pub const QUEUE_MAX: usize = 256;

/// Maximum total size of the messages queued for the connection to another node, in bytes: two of maximum length. Any
/// more are lost.
pub const QUEUE_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Maximum total size of the messages queued for the connections to all other nodes, in bytes. Any more are lost.
pub const OUTGOING_BYTES_MAX: usize = 128 << 20;

/// Maximum total size of messages being received from other nodes, in bytes. While it is reached, connections are not
/// read, and are closed after [`PEER_STALL`].
pub const INCOMING_BYTES_MAX: usize = 64 << 20;

/// Timeout for connecting to another node.
pub const PEER_CONNECT: Duration = Duration::from_secs(1);

/// Time within which both ends of a connection between nodes must authenticate each other: TLS, and a hello in each
/// direction.
pub const PEER_HELLO: Duration = Duration::from_secs(2);

/// Maximum size of a query sent over a separate connection, and of its reply, in bytes; each contains only a few
/// numbers.
pub const ASKED_BYTES_MAX: usize = 256;

/// Maximum time that another node may take to read or send a piece of a message; a process that is stopped for longer
/// counts as unresponsive anyway.
pub const PEER_STALL: Duration = Duration::from_secs(5);

/// Time without acknowledgement from the other host after which the kernel closes a connection. The next attempt is
/// then made while the network is still down, so that messages arrive about a second after it recovers. Until then, the
/// kernel retransmits at equal intervals.
pub const PEER_UNCONFIRMED: Duration = Duration::from_secs(2);

/// Time without a message after which a connection from another node is closed; normally, queries are sent every
/// second.
pub const PEER_IDLE: Duration = Duration::from_secs(30);

/// Half of the delay after the first failed connection to another node; doubles with each failure up to
/// [`PEER_PAUSE_MAX`].
pub const PEER_PAUSE: Duration = Duration::from_millis(50);

/// Maximum delay between connection attempts to another node.
pub const PEER_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Maximum number of unauthenticated connections to the port for other nodes, applied separately to addresses of nodes
/// and to all other addresses. Beyond it, a connection from the address with the most is closed.
pub const STRANGERS_MAX: usize = 128;

/// Minimum interval between handshakes with unauthenticated peers, applied separately to addresses of nodes and to
/// other addresses, so that a flood of them takes up at most a tenth of the driver's time.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(2);

/// Number of connections accepted before pausing for [`ACCEPT_PAUSE`], that is, 4,000 per second, which take up a tenth
/// of the driver's time. Any more wait in the kernel's queue.
pub const ACCEPTS_PER_PAUSE: u64 = 8;

/// Minimum interval between log lines about refused connections, for each reason.
pub const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Interval between reports of a node that is draining, and delay before a failed report is retried, in milliseconds.
pub const REPORT_EVERY_MS: u64 = 1_000;

/// Time in milliseconds after which a report that etcd has not accepted is abandoned, since the operator's command has
/// ended by then.
pub const REPORT_MAX_MS: u64 = 10_000;

/// Interval at which a command that waits for nodes reads etcd; each read covers all watched keys, half a megabyte.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time within which a node reports that it is carrying out an order: two of its ticks, with a margin for a busy
/// machine.
pub const OBEYS_MAX: Duration = Duration::from_secs(10);

/// Maximum time that a command waits for reports, which it reads every [`REPORTS_EVERY`].
pub const REPORTS_WAIT: Duration = Duration::from_secs(5);

/// Interval at which a command reads reports; see [`REPORTS_WAIT`]. Kept short, since it limits the accuracy of clock
/// comparisons.
pub const REPORTS_EVERY: Duration = Duration::from_millis(100);

/// Maximum time that a command waits for a drain to complete: the time allowed for a process to hand over its slots,
/// plus the time it takes to start and to shut down.
pub const DRAIN_MAX: Duration = Duration::from_secs(140);

/// Maximum time that a command waits for slots to be evenly distributed across the nodes. Moving all slots of a node
/// takes several seconds, or longer if large records must be loaded.
pub const REBALANCE_MAX: Duration = Duration::from_secs(600);

/// Time without a slot moving, although the nodes have been asked again, after which they are assumed not to hand over
/// any more. Exceeds the timeouts for the answer to a parcel and for a transfer with an unknown outcome.
pub const STILL_MAX: Duration = Duration::from_secs(15);

/// Maximum number of foreign keys shown to an operator per range.
pub const FOREIGN_KEYS_MAX: i64 = 10;

/// Maximum number of bytes of a member's metrics that are searched for its quota: ten times what etcd produces.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

/// Interval at which a member is queried for the size of its database, in milliseconds. Each query opens a connection
/// to the member.
pub const SIZE_EVERY_MS: u64 = 10_000;

/// Maximum number of file descriptors used by a node: unauthenticated connections of both kinds, a connection in each
/// direction for every other node, two connections to etcd and as many being opened, two for querying its database
/// size, and several for the runtime and the data directory.
pub const DESCRIPTORS_MAX: usize =
    2 * STRANGERS_MAX + 2 * broker_core::cluster::limits::NODES_MAX + 16;

/// Memory used by a handshake with an unauthenticated peer, in bytes: the largest message that TLS accepts, plus the
/// task.
pub const STRANGER_BYTES: usize = 72 << 10;

const _: () = {
    assert!(MESSAGE_BYTES_MAX <= MAIL_BYTES_MAX && MESSAGE_BYTES_MAX <= INCOMING_BYTES_MAX);
    assert!(QUEUE_BYTES_MAX <= OUTGOING_BYTES_MAX);
    assert!(PARCEL_MESSAGE_BYTES_MAX < MESSAGE_BYTES_MAX && PART_BYTES < MESSAGE_BYTES_MAX);
    assert!(PARTS_KEPT_MS > broker_core::cluster::limits::PARCEL_WAIT_MS);
    assert!(STRANGERS_MAX >= broker_core::cluster::limits::NODES_MAX / 2);
    assert!(TICK.as_millis() * 2 <= broker_core::cluster::limits::TICK_MS as u128);
    assert!(SILENT.as_millis() < CALL.as_millis());
    assert!(PUTS_PER_BATCH < 128 && 2 * REMOVALS_PER_BATCH <= 128);
    assert!(broker_core::registry::ENCODED_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(WRITE_WAIT_MS as u128 + 2 * TICK.as_millis() <= 1_000);
};
