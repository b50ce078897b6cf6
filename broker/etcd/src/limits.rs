//! Limits and timeouts of the driver, with their reasons. Those of the core are in [`broker_core::cluster::limits`].

use std::time::Duration;

/// Interval between ticks of the core; half of the maximum it allows, so that a late tick leaves no gap.
pub const TICK: Duration = Duration::from_millis(250);

/// Timeout for connecting to an etcd member, including the TLS handshake.
pub const CONNECT: Duration = Duration::from_secs(1);

/// Interval between HTTP/2 pings on a connection with unanswered calls. etcd closes connections that ping more often
/// than every 5 s, or while no call is in flight.
pub const HTTP2_PING: Duration = Duration::from_secs(6);

/// Timeout for the answer to an HTTP/2 ping.
pub const HTTP2_PONG: Duration = Duration::from_secs(2);

/// Idle time after which the kernel probes the peer of a connection. The connection for records may be unused for hours
/// until a host is lost together with a member and its slots must be loaded; with [`PROBES`], a dead connection is
/// abandoned before the shortest lease expires.
pub const PROBE: Duration = Duration::from_secs(2);

/// Interval between kernel probes while none is answered.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// Number of unanswered probes after which the connection ends.
pub const PROBES: u32 = 3;

/// Time without an answer to a keepalive or a progress request after which another member is used. Together with
/// [`CONNECT`], well below the lifetime of a registration.
pub const SILENT: Duration = Duration::from_secs(2);

/// Timeout of a call, after which the core treats its outcome as unknown.
pub const CALL: Duration = Duration::from_millis(broker_core::cluster::limits::CALL_MS);

/// Delay before a member is retried after the first of consecutive failures; doubles up to [`RETRY_MAX`].
pub const RETRY: Duration = Duration::from_millis(100);

/// Maximum delay between connection attempts, which is about as long as a leader change.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Maximum size of a response accepted from etcd, in bytes. All slots, registrations and members take about 600 KiB; a
/// page of typical records half of that, and one with the largest tags far less than this limit.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Number of rows on a page of an export: 80 MiB with the largest tags, typically 500 KiB.
pub const PAGE_ROWS: i64 = 1_000;

/// Number of rows on a page when loading the records of a slot, with up to [`LOADS_MAX`] loads at a time; a million
/// channels are about 244 per slot.
///
/// [`LOADS_MAX`]: broker_core::cluster::limits::LOADS_MAX
pub const LOAD_ROWS: i64 = 250;

/// Maximum number of record changes waiting for a batch, across all shards. When full, a change is refused and its
/// owner answers that the service is busy. With the largest tags they take 80 MiB, typically 400 KiB.
pub const CHANGES_MAX: usize = 1_024;

/// Maximum number of change batches in flight.
pub const LANES: usize = 2;

/// Maximum number of records put by one batch; etcd accepts 128 operations and 128 compares per transaction.
pub const PUTS_PER_BATCH: usize = 100;

/// Number of transactions that an import has in flight at once; etcd combines several into one disk write.
pub const IMPORT_BATCHES_UNDER_WAY: usize = 8;

/// Maximum number of records removed by one batch, each with a compare for the record and one for its slot.
pub const REMOVALS_PER_BATCH: usize = 60;

/// Size of keys and values in bytes at which a batch accepts no further change; etcd accepts 1.5 MiB per request.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Maximum time that a change waits to be sent while no batch is answered, in milliseconds. After that nothing has been
/// changed, and its owner answers that the service is unavailable; even with a late tick, this takes less than a
/// second.
pub const WRITE_WAIT_MS: u64 = 250;

/// Time after which a batch with an unknown outcome is sent again, in milliseconds.
pub const WRITE_AGAIN_MS: u64 = 250;

/// Maximum number of etcd events queued for the driver. When full, the streams that produce them are not read.
pub const EVENTS_MAX: usize = 64;

/// Maximum number of messages from other nodes, and of orders from the process, queued for the driver. Further ones are
/// lost, as on a broken connection.
pub const MAIL_MAX: usize = 1_024;

/// Maximum size of messages from other nodes queued for the driver, in bytes. Further ones are lost.
pub const MAIL_BYTES_MAX: usize = 64 << 20;

/// Maximum length of a message between nodes, in bytes: an answer about all slots takes less than 300 KiB, and a parcel
/// contains the pending messages of one slot, up to [`PARCEL_MESSAGE_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a JSON value in etcd, in bytes: ours take several hundred, a report in a cluster of 256 nodes about
/// 20 KiB, and later versions may use more.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Maximum number of nodes whose links are included in a node's report, at most about 250 bytes each, within a value of
/// [`VALUE_BYTES_MAX`].
pub const REPORTED_LINKS_MAX: usize = 128;

/// Maximum size of pending messages sent in a single message, in bytes; larger parcels are sent in parts.
pub const PARCEL_MESSAGE_BYTES_MAX: usize = 12 << 20;

/// Size of a part of a parcel, in bytes.
pub const PART_BYTES: usize = 4 << 20;

/// Maximum number of parts of a parcel.
pub const PARTS_MAX: usize = 12;

/// Time after which an unacknowledged part is resent, in milliseconds.
pub const PART_AGAIN_MS: u64 = 500;

/// Maximum duration of sending a parcel in parts, and time for which an incomplete parcel is kept after the last part
/// received, in milliseconds; longer than the transfer waits for it.
pub const PARTS_KEPT_MS: u64 = 5_000;

/// Maximum number of parcels sent in parts at a time; the transfer of a further one is retried later.
pub const SENDING_MAX: usize = 2 * broker_core::cluster::limits::TRANSFERS_MAX;

/// Maximum length of the name of a node or cluster, in bytes: that of a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

/// Maximum length of a node's address in the roster, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Maximum number of ports of a node in the roster: one for each shard that a node may have. Further ones are not used.
pub const INNER_PORTS_MAX: usize = broker_core::limits::SHARDS_MAX;

/// Interval between lookups of the name of a node's host, in milliseconds.
pub const LOOK_UP_EVERY_MS: u64 = 30_000;

/// Delay before the next lookup if one found nothing or the node cannot be reached, in milliseconds.
pub const LOOK_UP_AGAIN_MS: u64 = 3_000;

/// Time without an answer from the system's resolver after which the delay is logged, in milliseconds.
pub const LOOK_UP_LATE_MS: u64 = 5_000;

/// Maximum number of names looked up at a time, each on its own thread. Further ones wait.
pub const LOOK_UPS_MAX: usize = 32;

/// Maximum number of addresses used per name.
pub const HOST_ADDRESSES_MAX: usize = 8;

/// Time for which a node that is shutting down waits for its last calls and messages.
pub const LEAVE: Duration = Duration::from_secs(1);

/// Timeout for querying the state of a node.
pub const INSPECT: Duration = Duration::from_secs(1);

/// Minimum interval between writes of the data directory made only because the revision increased, in milliseconds.
pub const REMEMBER_MS: u64 = 1_000;

/// Maximum number of messages queued for the connection to one other node: several seconds of queries and answers, and
/// the parcels of a drain. Further ones are lost.
pub const QUEUE_MAX: usize = 256;

/// Maximum size of the messages queued for the connection to one other node, in bytes: two of the longest. Further ones
/// are lost.
pub const QUEUE_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Maximum size of messages queued for the connections to all other nodes, in bytes. Further ones are lost.
pub const OUTGOING_BYTES_MAX: usize = 128 << 20;

/// Maximum size of messages being received from all other nodes together, in bytes. When it is reached, connections are
/// not read, and end after [`PEER_STALL`].
pub const INCOMING_BYTES_MAX: usize = 64 << 20;

/// Timeout for connecting to another node.
pub const PEER_CONNECT: Duration = Duration::from_secs(1);

/// Timeout for the two ends of a connection between nodes to authenticate each other: TLS, and a hello in each
/// direction.
pub const PEER_HELLO: Duration = Duration::from_secs(2);

/// Maximum size of a query sent over a separate connection, and of its reply, in bytes; they contain a few numbers.
pub const ASKED_BYTES_MAX: usize = 256;

/// Maximum time that another node may take to read or send a piece of a message; a process that is stopped for longer
/// counts as silent anyway.
pub const PEER_STALL: Duration = Duration::from_secs(5);

/// Time without acknowledgement from the other host after which the kernel ends a connection. The next one is then
/// tried while the network is still down, and messages arrive about a second after it recovers. Until then the kernel
/// retransmits at equal intervals.
pub const PEER_UNCONFIRMED: Duration = Duration::from_secs(2);

/// Time without a message after which a connection from another node is closed; queries are sent every second.
pub const PEER_IDLE: Duration = Duration::from_secs(30);

/// Half the delay after the first failed connection to another node; doubles up to [`PEER_PAUSE_MAX`].
pub const PEER_PAUSE: Duration = Duration::from_millis(50);

/// Maximum delay between connection attempts to another node.
pub const PEER_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Maximum number of unauthenticated connections to the port for other nodes: this many from addresses of nodes, and as
/// many from other addresses. Beyond it, a connection of the address with the most is closed.
pub const STRANGERS_MAX: usize = 128;

/// Minimum interval between handshakes with unauthenticated peers, separately for addresses of nodes and for other
/// addresses, so that a flood of them takes a tenth of the driver's time.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(2);

/// Number of connections accepted before a pause of [`ACCEPT_PAUSE`]: 4,000 per second, which take a tenth of the
/// driver's time. Further ones wait in the kernel's queue.
pub const ACCEPTS_PER_PAUSE: u64 = 8;

/// Minimum interval between log lines about refused connections, for each reason.
pub const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Interval between reports of a node that drains, and delay before a failed report is retried, in milliseconds.
pub const REPORT_EVERY_MS: u64 = 1_000;

/// Time after which a report that etcd did not accept is useless because the operator's command has ended, in
/// milliseconds.
pub const REPORT_MAX_MS: u64 = 10_000;

/// Interval between reads of etcd by a command that waits for nodes; each reads all watched keys, half a megabyte.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time within which a node reports that it carries out an order: two of its ticks, with a margin for a busy machine.
pub const OBEYS_MAX: Duration = Duration::from_secs(10);

/// Time for which a command waits for reports, reading them every [`REPORTS_EVERY`].
pub const REPORTS_WAIT: Duration = Duration::from_secs(5);

/// See [`REPORTS_WAIT`]. Short, since it limits the accuracy of clock comparisons.
pub const REPORTS_EVERY: Duration = Duration::from_millis(100);

/// Time for which a command waits for the end of a drain: the time in which a process hands over its slots, and the
/// time it takes to start and to shut down.
pub const DRAIN_MAX: Duration = Duration::from_secs(140);

/// Time for which a command waits for the nodes' numbers of slots to become equal. All slots of a node move in several
/// seconds; loading large records takes longer.
pub const REBALANCE_MAX: Duration = Duration::from_secs(600);

/// Time without a moving slot, although the nodes were asked again, after which they are assumed to hand over no more;
/// exceeds the timeouts for a parcel's answer and for a transfer with an unknown outcome.
pub const STILL_MAX: Duration = Duration::from_secs(15);

/// Maximum number of foreign keys per range shown to an operator.
pub const FOREIGN_KEYS_MAX: i64 = 10;

/// Number of bytes of a member's metrics that are searched for its quota: ten times what etcd writes.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

/// Interval between queries of a member for the size of its database, in milliseconds. Each query opens a connection to
/// the member.
pub const SIZE_EVERY_MS: u64 = 10_000;

/// Maximum number of descriptors held by a node: unauthenticated connections of both kinds, a connection in each
/// direction for every other node, two to etcd and as many being opened, two for querying the size of its database, and
/// several for the runtime and the data directory.
pub const DESCRIPTORS_MAX: usize =
    2 * STRANGERS_MAX + 2 * broker_core::cluster::limits::NODES_MAX + 16;

/// Memory of a handshake with an unauthenticated peer, in bytes: the most that TLS accepts of one message, and its
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
