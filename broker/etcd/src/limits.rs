//! Limits and timeouts of the driver, with their reasons. [`broker_core::cluster::limits`] has those of the core.

use std::time::Duration;

/// Interval between ticks of the core: half of the core's maximum, so that a late tick leaves no gap.
pub const TICK: Duration = Duration::from_millis(250);

/// Timeout for connecting to an etcd member, with the TLS handshake.
pub const CONNECT: Duration = Duration::from_secs(1);

/// Interval between HTTP/2 pings on a connection with unanswered calls. etcd closes connections that ping more often
/// than every 5 s or without a call in flight.
pub const HTTP2_PING: Duration = Duration::from_secs(6);

/// Timeout for the answer to an HTTP/2 ping.
pub const HTTP2_PONG: Duration = Duration::from_secs(2);

/// Idle time after which the kernel probes the peer of a connection. The connection for records may be unused for hours
/// before a host is lost together with an etcd member and its slots must be loaded. With [`PROBES`], a dead connection
/// is abandoned before the shortest lease expires.
pub const PROBE: Duration = Duration::from_secs(2);

/// Interval between unanswered kernel probes.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// Number of unanswered probes after which the connection is closed.
pub const PROBES: u32 = 3;

/// Time without an answer to a keepalive or progress request after which another member is used. Together with
/// [`CONNECT`], this is well below the lifetime of a registration.
pub const SILENT: Duration = Duration::from_secs(2);

/// Timeout of a call, whose outcome is then unknown to the core.
pub const CALL: Duration = Duration::from_millis(broker_core::cluster::limits::CALL_MS);

/// Delay before the retry after the first of consecutive failures; doubles up to [`RETRY_MAX`].
pub const RETRY: Duration = Duration::from_millis(100);

/// Maximum delay between connection attempts, about the duration of a leader change.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Maximum size of a response from etcd, in bytes. All slots, registrations and members together take about 600 KiB; a
/// page of typical records takes half of that, and one with the largest tags far less than this limit.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Rows per page of an export: typically 500 KiB, 80 MiB with the largest tags.
pub const PAGE_ROWS: i64 = 1_000;

/// Rows per page of a load of a slot's records, with up to [`LOADS_MAX`] loads at a time. With a million channels, a
/// slot has about 244.
///
/// [`LOADS_MAX`]: broker_core::cluster::limits::LOADS_MAX
pub const LOAD_ROWS: i64 = 250;

/// Maximum number of record changes that wait for a batch, across all shards. Further changes are refused because the
/// service is busy. They typically take 400 KiB, or 80 MiB with the largest tags.
pub const CHANGES_MAX: usize = 1_024;

/// Maximum number of change batches in flight.
pub const LANES: usize = 2;

/// Maximum number of records written per batch; etcd accepts 128 operations and 128 compares per transaction.
pub const PUTS_PER_BATCH: usize = 100;

/// Maximum number of import transactions in flight; etcd combines several into one disk write.
pub const IMPORT_BATCHES_UNDER_WAY: usize = 8;

/// Maximum number of records removed per batch. Each removal has two compares: one for the record and one for its slot.
pub const REMOVALS_PER_BATCH: usize = 60;

/// A batch with keys and values of this many bytes in total accepts no further changes; etcd accepts 1.5 MiB per
/// request.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Maximum time in milliseconds for which a change waits to be sent while no batch is answered. The change is then
/// refused because etcd is unavailable. Even with a late tick, this takes less than a second.
pub const WRITE_WAIT_MS: u64 = 250;

/// Time in milliseconds after which a batch with an unknown outcome is resent.
pub const WRITE_AGAIN_MS: u64 = 250;

/// Maximum number of etcd events queued for the driver. Beyond it, their streams are not read.
pub const EVENTS_MAX: usize = 64;

/// Maximum number of messages from other nodes, and of orders from the process, queued for the driver. Further ones are
/// lost, as on a broken connection.
pub const MAIL_MAX: usize = 1_024;

/// Maximum size of messages from other nodes queued for the driver, in bytes. Further ones are lost.
pub const MAIL_BYTES_MAX: usize = 64 << 20;

/// Maximum length of a message between nodes, in bytes. An answer about all slots takes less than 300 KiB, and a parcel
/// contains the pending messages of one slot, up to [`PARCEL_MESSAGE_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a JSON value in etcd, in bytes. This version's values take several hundred bytes, a report in a
/// cluster of 256 nodes about 20 KiB; later versions may use more.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Maximum number of nodes whose links a node reports, about 250 bytes each, so that the report fits into
/// [`VALUE_BYTES_MAX`].
pub const REPORTED_LINKS_MAX: usize = 128;

/// Maximum size of pending messages in a single message, in bytes; larger parcels are sent in parts.
pub const PARCEL_MESSAGE_BYTES_MAX: usize = 12 << 20;

/// Size of a part of a parcel, in bytes.
pub const PART_BYTES: usize = 4 << 20;

/// Maximum number of parts of a parcel.
pub const PARTS_MAX: usize = 12;

/// Time in milliseconds after which an unacknowledged part is resent.
pub const PART_AGAIN_MS: u64 = 500;

/// Maximum time in milliseconds for sending a parcel in parts, and for keeping an incomplete one after its last part
/// arrived. Exceeds the time for which a transfer waits for the parcel.
pub const PARTS_KEPT_MS: u64 = 5_000;

/// Maximum number of parcels being sent in parts; other transfers are retried later.
pub const SENDING_MAX: usize = 2 * broker_core::cluster::limits::TRANSFERS_MAX;

/// Maximum length of a node or cluster name in bytes, as for a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

/// Maximum length of a node's address in the roster, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Maximum number of ports per node in the roster: one per possible shard. Further ones are ignored.
pub const INNER_PORTS_MAX: usize = broker_core::limits::SHARDS_MAX;

/// Interval in milliseconds between lookups of a node's host name.
pub const LOOK_UP_EVERY_MS: u64 = 30_000;

/// Delay in milliseconds before another lookup if the last one found nothing or the node cannot be reached.
pub const LOOK_UP_AGAIN_MS: u64 = 3_000;

/// Time in milliseconds without an answer from the system's resolver after which the delay is logged.
pub const LOOK_UP_LATE_MS: u64 = 5_000;

/// Maximum number of concurrent name lookups, each on its own thread. Further ones wait.
pub const LOOK_UPS_MAX: usize = 32;

/// Maximum number of addresses used per name.
pub const HOST_ADDRESSES_MAX: usize = 8;

/// Time that a node allows for its last calls and messages at shutdown.
pub const LEAVE: Duration = Duration::from_secs(1);

/// Timeout for querying the state of a node.
pub const INSPECT: Duration = Duration::from_secs(1);

/// Minimum interval in milliseconds between writes of the data directory if only the revision has increased.
pub const REMEMBER_MS: u64 = 1_000;

/// Maximum number of messages queued for the connection to another node: several seconds of questions and answers, and
/// the parcels of a drain. Further ones are lost.
pub const QUEUE_MAX: usize = 256;

/// Maximum size of the messages queued for the connection to another node, in bytes: two of maximum length. Further
/// ones are lost.
pub const QUEUE_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Maximum size of the messages queued for all connections to other nodes, in bytes. Further ones are lost.
pub const OUTGOING_BYTES_MAX: usize = 128 << 20;

/// Maximum size of messages being received from other nodes, in bytes. Beyond it, connections are not read, and are
/// closed after [`PEER_STALL`].
pub const INCOMING_BYTES_MAX: usize = 64 << 20;

/// Timeout for connecting to another node.
pub const PEER_CONNECT: Duration = Duration::from_secs(1);

/// Time within which both ends of a connection between nodes authenticate each other: TLS, and a hello in each
/// direction.
pub const PEER_HELLO: Duration = Duration::from_secs(2);

/// Maximum size of a query over a separate connection, and of its reply, in bytes; each contains a few numbers.
pub const ASKED_BYTES_MAX: usize = 256;

/// Maximum time for another node to read or send a piece of a message. A process that stops for longer counts as
/// unresponsive anyway.
pub const PEER_STALL: Duration = Duration::from_secs(5);

/// Time without acknowledgement from the other host after which the kernel closes a connection. The next attempt then
/// begins while the network is still down, so that messages arrive about a second after it recovers. Until then, the
/// kernel retransmits at equal intervals.
pub const PEER_UNCONFIRMED: Duration = Duration::from_secs(2);

/// Time without a message after which a connection from another node is closed; normally, one arrives every second.
pub const PEER_IDLE: Duration = Duration::from_secs(30);

/// Half of the delay after the first failed connection to another node; doubles with each failure up to
/// [`PEER_PAUSE_MAX`].
pub const PEER_PAUSE: Duration = Duration::from_millis(50);

/// Maximum delay between connection attempts to another node.
pub const PEER_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Maximum number of unauthenticated connections to the port for other nodes, counted separately for addresses of nodes
/// and for all others. Beyond it, a connection is closed: one from the address with the most connections.
pub const STRANGERS_MAX: usize = 128;

/// Minimum interval between handshakes with unauthenticated peers, counted separately for addresses of nodes and for
/// all others, so that a flood takes at most a tenth of the driver's time.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(2);

/// Number of connections accepted before a pause of [`ACCEPT_PAUSE`]: 4,000 per second, which take a tenth of the
/// driver's time. Further ones wait in the kernel's queue.
pub const ACCEPTS_PER_PAUSE: u64 = 8;

/// Minimum interval between log lines about refused connections, per reason.
pub const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Interval in milliseconds between reports of a draining node, and before the retry of a failed report.
pub const REPORT_EVERY_MS: u64 = 1_000;

/// Time in milliseconds after which a report that etcd has not accepted is abandoned; the operator's command has ended
/// by then.
pub const REPORT_MAX_MS: u64 = 10_000;

/// Interval at which a command that waits for nodes reads etcd; a read covers all watched keys, half a megabyte.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time within which a node reports that it carries out an order: two of its ticks, with a margin for a busy machine.
pub const OBEYS_MAX: Duration = Duration::from_secs(10);

/// Maximum time for which a command waits for reports; it reads them every [`REPORTS_EVERY`].
pub const REPORTS_WAIT: Duration = Duration::from_secs(5);

/// Interval at which a command reads reports; see [`REPORTS_WAIT`]. Short, because it limits how accurately clocks can
/// be compared.
pub const REPORTS_EVERY: Duration = Duration::from_millis(100);

/// Maximum time for which a command waits for a drain: the time for a process to transfer its slots, to start and to
/// shut down.
pub const DRAIN_MAX: Duration = Duration::from_secs(140);

/// Maximum time for which a command waits for an even distribution of slots. Moving all slots of a node takes several
/// seconds, or longer with large records.
pub const REBALANCE_MAX: Duration = Duration::from_secs(600);

/// Rebalancing counts as finished if no slot moves for this long although the nodes were asked again. Exceeds the
/// timeouts for the answer to a parcel and for a transfer with an unknown outcome.
pub const STILL_MAX: Duration = Duration::from_secs(15);

/// Maximum number of foreign keys shown to an operator per range.
pub const FOREIGN_KEYS_MAX: i64 = 10;

/// Maximum number of bytes of a member's metrics searched for its quota: ten times what etcd produces.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

/// Interval in milliseconds at which a member is queried for the size of its database, each time over another
/// connection.
pub const SIZE_EVERY_MS: u64 = 10_000;

/// Maximum number of file descriptors of a node: unauthenticated connections of both kinds, a connection in each
/// direction per other node, two connections to etcd and as many being opened, two for querying its database size, and
/// several for the runtime and the data directory.
pub const DESCRIPTORS_MAX: usize =
    2 * STRANGERS_MAX + 2 * broker_core::cluster::limits::NODES_MAX + 16;

/// Memory that a handshake with an unauthenticated peer takes, in bytes: the largest TLS message, and the task.
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
