//! Limits and timeouts of the driver, with the reason for each. The core's limits are in
//! [`broker_core::cluster::limits`].

use std::time::Duration;

/// Interval between ticks of the core: half the maximum that the core permits, so a tick may be late.
pub const TICK: Duration = Duration::from_millis(250);

/// Timeout for connecting to an etcd member, including the TLS handshake.
pub const CONNECT: Duration = Duration::from_secs(1);

/// Interval between HTTP/2 pings on a connection with unanswered calls. etcd closes connections on which pings arrive
/// more often than every 5 s or while no call is in flight.
pub const HTTP2_PING: Duration = Duration::from_secs(6);

/// Timeout for the answer to an HTTP/2 ping.
pub const HTTP2_PONG: Duration = Duration::from_secs(2);

/// Idle time after which the kernel probes the peer of a connection. If a machine that hosts both a node and an etcd
/// member fails, this node must load the lost node's slots. Its connection for records, which may have been idle for
/// hours, may lead to the failed machine. Together with [`PROBES`], this value ensures that a dead connection is
/// abandoned before the shortest lease expires.
pub const PROBE: Duration = Duration::from_secs(2);

/// Interval between unanswered kernel probes.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// Number of unanswered probes after which the connection is closed.
pub const PROBES: u32 = 3;

/// How long a keepalive or progress request may remain unanswered before another member is tried. The sum of this and
/// [`CONNECT`] is well below the lifetime of a registration.
pub const SILENT: Duration = Duration::from_secs(2);

/// Timeout of a call. After a timeout, the core does not know the outcome of the call.
pub const CALL: Duration = Duration::from_millis(broker_core::cluster::limits::CALL_MS);

/// Delay before retrying after the first failure. The delay doubles with each consecutive failure, up to [`RETRY_MAX`].
pub const RETRY: Duration = Duration::from_millis(100);

/// Maximum delay between connection attempts. Electing a new etcd leader takes about this long.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Maximum size of a response from etcd, in bytes. All slots, registrations and members together take about 600 KiB. A
/// page of typical records takes half of that. Even a page of records with the largest tags takes far less than this
/// limit.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Number of rows per page of an export. A page is typically 500 KiB, or 80 MiB if the records have the largest tags.
pub const PAGE_ROWS: i64 = 1_000;

/// Number of rows per page when the records of a slot are loaded. There are up to [`LOADS_MAX`] loads at a time. With a
/// million channels, a slot has about 244 records.
///
/// [`LOADS_MAX`]: broker_core::cluster::limits::LOADS_MAX
pub const LOAD_ROWS: i64 = 250;

/// Maximum number of record changes waiting for a batch, from all shards together. Further changes are refused because
/// the service is busy. The waiting changes typically take 400 KiB, or 80 MiB if the records have the largest tags.
pub const CHANGES_MAX: usize = 1_024;

/// Maximum number of batches of changes in flight.
pub const LANES: usize = 2;

/// Maximum number of records written per batch. etcd accepts 128 operations and 128 compares per transaction.
pub const PUTS_PER_BATCH: usize = 100;

/// Maximum number of import transactions in flight. etcd combines several of them into one disk write.
pub const IMPORT_BATCHES_UNDER_WAY: usize = 8;

/// Maximum number of records removed per batch. Each removal takes two compares: one for the record and one for its
/// slot.
pub const REMOVALS_PER_BATCH: usize = 60;

/// Soft size limit of a batch, in bytes. Once its keys and values reach this total, no further changes are added. etcd
/// accepts 1.5 MiB per request.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// How long a change may wait to be sent while etcd answers no batch, in milliseconds. After that, it is refused
/// because etcd is unavailable. Even if a tick is late, this happens within a second.
pub const WRITE_WAIT_MS: u64 = 250;

/// Time in milliseconds after which a batch whose outcome is unknown is sent again.
pub const WRITE_AGAIN_MS: u64 = 250;

/// Maximum number of etcd events queued for the driver. While the queue is full, the streams that deliver them are not
/// read.
pub const EVENTS_MAX: usize = 64;

/// Maximum number of messages from other nodes, and of commands from the process, queued for the driver. Further
/// messages and commands are lost, as on a broken connection.
pub const MAIL_MAX: usize = 1_024;

/// Maximum total size of messages from other nodes queued for the driver, in bytes. Further messages are lost.
pub const MAIL_BYTES_MAX: usize = 64 << 20;

/// Maximum length of a message between nodes, in bytes. An answer that covers all slots takes less than 300 KiB. A
/// parcel contains the pending messages of one slot, up to [`PARCEL_MESSAGE_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a JSON value in etcd, in bytes. This version's values take several hundred bytes, except for a
/// report, which takes about 20 KiB in a cluster of 256 nodes. Later versions may use more.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Maximum number of nodes whose links a node reports. Each takes about 250 bytes, so the report fits into
/// [`VALUE_BYTES_MAX`].
pub const REPORTED_LINKS_MAX: usize = 128;

/// Maximum size of a parcel that is sent in a single message, in bytes. Larger parcels are sent in parts.
pub const PARCEL_MESSAGE_BYTES_MAX: usize = 12 << 20;

/// Size of a part of a parcel, in bytes.
pub const PART_BYTES: usize = 4 << 20;

/// Maximum number of parts of a parcel.
pub const PARTS_MAX: usize = 12;

/// Time in milliseconds after which an unacknowledged part is sent again.
pub const PART_AGAIN_MS: u64 = 500;

/// How long sending a parcel in parts may take, in milliseconds. The receiver discards an incomplete parcel if no
/// further part arrives within this time. A slot transfer does not wait this long for its parcel.
pub const PARTS_KEPT_MS: u64 = 5_000;

/// Maximum number of parcels being sent in parts. Further transfers are retried later.
pub const SENDING_MAX: usize = 2 * broker_core::cluster::limits::TRANSFERS_MAX;

/// Maximum length of a node or cluster name in bytes, the same as for a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

/// Maximum length of a node's address in the roster, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Maximum number of ports per node in the roster: one for each possible shard. Further ports are ignored.
pub const INNER_PORTS_MAX: usize = broker_core::limits::SHARDS_MAX;

/// Interval in milliseconds between lookups of a node's host name.
pub const LOOK_UP_EVERY_MS: u64 = 30_000;

/// Delay before a host name is looked up again, in milliseconds, after a lookup found nothing or the node could not be
/// reached.
pub const LOOK_UP_AGAIN_MS: u64 = 3_000;

/// How long the system's resolver may take to answer before the delay is logged, in milliseconds.
pub const LOOK_UP_LATE_MS: u64 = 5_000;

/// Maximum number of concurrent name lookups, each of which occupies a thread. Further lookups wait.
pub const LOOK_UPS_MAX: usize = 32;

/// Maximum number of addresses that are used per name.
pub const HOST_ADDRESSES_MAX: usize = 8;

/// How long a node waits for pending calls and messages while shutting down.
pub const LEAVE: Duration = Duration::from_secs(1);

/// Timeout for a query of a node's state.
pub const INSPECT: Duration = Duration::from_secs(1);

/// Minimum interval in milliseconds between writes to the data directory, if only the revision has increased.
pub const REMEMBER_MS: u64 = 1_000;

/// Maximum number of messages queued for the connection to another node. This is enough for several seconds of normal
/// traffic and the parcels of a drain. Further messages are lost.
pub const QUEUE_MAX: usize = 256;

/// Maximum total size of the messages queued for the connection to another node, in bytes: two messages of the maximum
/// length. Further messages are lost.
pub const QUEUE_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Maximum total size of the messages queued for all other nodes, in bytes. Further messages are lost.
pub const OUTGOING_BYTES_MAX: usize = 128 << 20;

/// Maximum total size of partially received messages from other nodes, in bytes. At this limit, the node stops reading
/// connections, and closes them after [`PEER_STALL`].
pub const INCOMING_BYTES_MAX: usize = 64 << 20;

/// Timeout for connecting to another node.
pub const PEER_CONNECT: Duration = Duration::from_secs(1);

/// Timeout for mutual authentication on a connection between nodes: TLS, and a hello in each direction.
pub const PEER_HELLO: Duration = Duration::from_secs(2);

/// Maximum size of a query over a separate connection, and of its reply, in bytes. Both contain only a few numbers.
pub const ASKED_BYTES_MAX: usize = 256;

/// How long another node may take to send or accept the next piece of a message. A process that pauses for longer
/// counts as unresponsive anyway.
pub const PEER_STALL: Duration = Duration::from_secs(5);

/// How long sent data may remain unacknowledged before the kernel closes the connection to another node. The node then
/// starts reconnecting while the network is still down, so messages arrive about a second after the network recovers.
/// Until the connection is closed, the kernel retransmits at equal intervals.
pub const PEER_UNCONFIRMED: Duration = Duration::from_secs(2);

/// Time without a message after which a connection from another node is closed. Normally, one arrives every second.
pub const PEER_IDLE: Duration = Duration::from_secs(30);

/// Base delay between attempts to connect to another node. The delay is twice this value after the first failure, and
/// doubles with each further failure, up to [`PEER_PAUSE_MAX`].
pub const PEER_PAUSE: Duration = Duration::from_millis(50);

/// Maximum delay between connection attempts to another node.
pub const PEER_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Maximum number of unauthenticated connections to the listener for other nodes. Connections from known node addresses
/// and from all other addresses are counted separately. When the limit is exceeded, a connection from the address with
/// the most connections is closed.
pub const STRANGERS_MAX: usize = 128;

/// Minimum interval between handshakes with unauthenticated peers, so that a flood takes at most a tenth of the
/// driver's time. Handshakes with known node addresses and with all other addresses are paced separately.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(2);

/// Number of connections accepted between two pauses of [`ACCEPT_PAUSE`]. This allows 4,000 connections per second,
/// which take a tenth of the driver's time. Further connections wait in the kernel's queue.
pub const ACCEPTS_PER_PAUSE: u64 = 8;

/// Minimum interval between log lines about connections refused for the same reason.
pub const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Interval between the progress reports of a draining node, in milliseconds. A failed report is retried after the same
/// time.
pub const REPORT_EVERY_MS: u64 = 1_000;

/// How long a node keeps trying to write a report that etcd does not accept, in milliseconds. By then, the operator's
/// command has exited.
pub const REPORT_MAX_MS: u64 = 10_000;

/// Interval at which a command reads etcd while it waits for nodes. Each read returns all watched keys, about half a
/// megabyte.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a node may take to confirm that it carries out an order. Allows for two ticks of the node and a busy
/// machine.
pub const OBEYS_MAX: Duration = Duration::from_secs(10);

/// How long a command waits for reports from nodes. It checks for them every [`REPORTS_EVERY`].
pub const REPORTS_WAIT: Duration = Duration::from_secs(5);

/// Interval at which a waiting command checks for reports; see [`REPORTS_WAIT`]. The shorter the interval, the more
/// accurately the nodes' clocks can be compared.
pub const REPORTS_EVERY: Duration = Duration::from_millis(100);

/// How long a command waits for a drain to finish. Covers the time that a process needs to start, transfer its slots
/// and shut down.
pub const DRAIN_MAX: Duration = Duration::from_secs(140);

/// How long a command waits for the slots to be evenly distributed. Moving all slots of a node takes several seconds,
/// or longer if the records are large.
pub const REBALANCE_MAX: Duration = Duration::from_secs(600);

/// Time without a slot transfer, despite repeated orders, after which rebalancing is considered finished. Must exceed
/// the time that a transfer can wait for the answer to a parcel or for an outcome that is still unknown.
pub const STILL_MAX: Duration = Duration::from_secs(15);

/// Maximum number of unrecognized keys that are shown to an operator, per key range.
pub const FOREIGN_KEYS_MAX: i64 = 10;

/// How many bytes of an etcd member's metrics are searched for its quota. Ten times what etcd produces.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

/// Interval at which the node asks an etcd member for its database size, in milliseconds. Each query uses a new
/// connection.
pub const SIZE_EVERY_MS: u64 = 10_000;

/// Maximum number of file descriptors that a node uses. Includes connections to and from every other node, and the
/// unauthenticated connections of both groups. Also includes two connections to etcd, two that are being opened, and
/// two that query the size of its database. The rest is for the runtime and the data directory.
pub const DESCRIPTORS_MAX: usize =
    2 * STRANGERS_MAX + 2 * broker_core::cluster::limits::NODES_MAX + 16;

/// Memory used by a handshake with an unauthenticated peer, in bytes: the largest TLS message, and the task.
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
