//! Bounds and spans of the driver, with their reasons. Those of the rules are in [`broker_core::cluster::limits`].

use std::time::Duration;

/// From one tick of the core to the next. Half of what it allows, so that a late one is no gap.
pub const TICK: Duration = Duration::from_millis(250);

/// A connection to a member of etcd comes about within this time, its TLS handshake included.
pub const CONNECT: Duration = Duration::from_secs(1);

/// From one HTTP/2 ping to the next on a connection whose calls are not answered. etcd closes connections that ping
/// more often than every 5 s, and those that ping while no call is under way.
pub const HTTP2_PING: Duration = Duration::from_secs(6);

/// The answer to an HTTP/2 ping comes within this time.
pub const HTTP2_PONG: Duration = Duration::from_secs(2);

/// After this long without a byte the system asks whether the other end of a connection is there. Over that for records
/// nothing need be asked for hours, and then those of a host's slots, which is lost together with a member: so it is
/// given up, after [`PROBES`], before the shortest lease ends.
pub const PROBE: Duration = Duration::from_secs(2);

/// From one such question to the next, while none is answered.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// Such questions without an answer, until the connection ends.
pub const PROBES: u32 = 3;

/// After this long without an answer to a keepalive or to a question for progress another member is asked. Together
/// with [`CONNECT`] well below a registration's life.
pub const SILENT: Duration = Duration::from_secs(2);

/// The longest time of a call; the core counts its outcome as unknown by then.
pub const CALL: Duration = Duration::from_millis(broker_core::cluster::limits::CALL_MS);

/// Pause before a member is tried again, after the first attempt in a row that failed; doubles up to [`RETRY_MAX`].
pub const RETRY: Duration = Duration::from_millis(100);

/// Longest pause between attempts to connect. A change of the leader takes about as long.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// Largest answer of etcd that is taken. All slots, registrations and members are about 600 KiB; a page of records of
/// the usual size half of that, of the largest tags far less than this.
pub const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Rows of one page of an export. At the largest tags they are 80 MiB, usually 500 KiB.
pub const PAGE_ROWS: i64 = 1_000;

/// Rows of one page when the records of a slot are loaded, of which there are [`LOADS_MAX`] at a time: a million
/// channels are some 244 to a slot.
///
/// [`LOADS_MAX`]: broker_core::cluster::limits::LOADS_MAX
pub const LOAD_ROWS: i64 = 250;

/// Changes of records that wait for a batch, of all shards together. Full means that a change is refused; its owner
/// answers that the service is busy. At the largest tags they hold 80 MiB, usually 400 KiB.
pub const CHANGES_MAX: usize = 1_024;

/// Batches of changes under way.
pub const LANES: usize = 2;

/// Records that one batch puts: etcd takes 128 operations and 128 compares a transaction.
pub const PUTS_PER_BATCH: usize = 100;

/// Transactions that an import has under way at once: etcd writes several to its disk together.
pub const IMPORT_BATCHES_UNDER_WAY: usize = 8;

/// Records that one batch removes. Each is compared, and so is its slot.
pub const REMOVALS_PER_BATCH: usize = 60;

/// Bytes of keys and values after which a batch takes no further change: etcd takes 1.5 MiB a request.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// The longest wait of a change to be sent while no batch is answered. Beyond it nothing was changed, and its owner
/// answers that the service is not available: with a tick that comes late, within a second.
pub const WRITE_WAIT_MS: u64 = 250;

/// A batch without a known outcome is sent again after this time.
pub const WRITE_AGAIN_MS: u64 = 250;

/// Events of etcd that wait for the driver. Beyond it the streams that they come from are not read.
pub const EVENTS_MAX: usize = 64;

/// Messages of other nodes, and orders of the process, that wait for the driver. Further messages are lost, as on a
/// broken connection.
pub const MAIL_MAX: usize = 1_024;

/// Bytes of messages of other nodes that wait for the driver. Further messages are lost.
pub const MAIL_BYTES_MAX: usize = 64 << 20;

/// Longest message between nodes: an answer about all slots is below 300 KiB, a parcel holds the pending messages of
/// one slot, if they are not more than [`PARCEL_MESSAGE_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Longest value of a key that is JSON, in bytes: ours have some hundred, a report of one of 256 nodes about 20 KiB,
/// and those of later versions may have more.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Nodes of whose links a node reports: some 250 bytes each at most, of a value of [`VALUE_BYTES_MAX`].
pub const REPORTED_LINKS_MAX: usize = 128;

/// Bytes of pending messages that go in one message. More go in parts.
pub const PARCEL_MESSAGE_BYTES_MAX: usize = 12 << 20;

/// Bytes of such a part.
pub const PART_BYTES: usize = 4 << 20;

/// Parts of a parcel.
pub const PARTS_MAX: usize = 12;

/// A part that the other node does not confirm is sent again after this long.
pub const PART_AGAIN_MS: u64 = 500;

/// The longest time of a parcel in parts, and the time for which one is kept whose parts stop coming: longer than the
/// transfer waits for it.
pub const PARTS_KEPT_MS: u64 = 5_000;

/// Parcels that go in parts at a time; the transfer of one more is tried again later.
pub const SENDING_MAX: usize = 2 * broker_core::cluster::limits::TRANSFERS_MAX;

/// Longest name of a node or of a cluster, in bytes: that of a label in the domain name system.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest address of a node that the roster may hold, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Ports of a node that the roster may hold: one for each shard that a node may have. Further ones are not used.
pub const INNER_PORTS_MAX: usize = broker_core::limits::SHARDS_MAX;

/// From one look-up of the name of a node's host to the next.
pub const LOOK_UP_EVERY_MS: u64 = 30_000;

/// Time to the next look-up after one that found nothing, and where the node is not reached.
pub const LOOK_UP_AGAIN_MS: u64 = 3_000;

/// After this long without an answer of the system's resolver the log says so.
pub const LOOK_UP_LATE_MS: u64 = 5_000;

/// Names that are looked up at a time, each on a thread while it is. More wait.
pub const LOOK_UPS_MAX: usize = 32;

/// Addresses of one name that are used.
pub const HOST_ADDRESSES_MAX: usize = 8;

/// An ending node waits this long for its last calls and messages.
pub const LEAVE: Duration = Duration::from_secs(1);

/// The longest wait for the state of a node.
pub const INSPECT: Duration = Duration::from_secs(1);

/// The shortest time between two writes of the data directory that are made only because the revision rose.
pub const REMEMBER_MS: u64 = 1_000;

/// Messages that wait for the connection to one other node: some seconds of questions and answers, and the parcels of
/// a drain. Further ones are lost.
pub const QUEUE_MAX: usize = 256;

/// Bytes of those: two of the longest. Further messages are lost.
pub const QUEUE_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Bytes of messages that wait for the connections to all other nodes. Further messages are lost.
pub const OUTGOING_BYTES_MAX: usize = 128 << 20;

/// Bytes of messages that are on their way in, of all other nodes together. Beyond it connections are not read, and end
/// after [`PEER_STALL`].
pub const INCOMING_BYTES_MAX: usize = 64 << 20;

/// A connection to another node comes about within this time.
pub const PEER_CONNECT: Duration = Duration::from_secs(1);

/// The two ends of a connection between nodes agree on who they are within this time: TLS and a hello of each.
pub const PEER_HELLO: Duration = Duration::from_secs(2);

/// Bytes of a message by which a node asks over a connection of its own, and of the reply: some numbers.
pub const ASKED_BYTES_MAX: usize = 256;

/// The longest time that another node may take to read a piece of a message, or to send one: a process that is stopped
/// for longer counts as silent anyway.
pub const PEER_STALL: Duration = Duration::from_secs(5);

/// After this long without the other host's confirmation the system ends a connection; so the next one is tried while
/// the network is still broken, and messages arrive about a second after it is mended. Until then the system repeats
/// what is lost at equal intervals.
pub const PEER_UNCONFIRMED: Duration = Duration::from_secs(2);

/// A connection of another node that brings no message for this long is closed. Questions come every second.
pub const PEER_IDLE: Duration = Duration::from_secs(30);

/// Half the pause after the first failed connection to another node; doubles up to [`PEER_PAUSE_MAX`].
pub const PEER_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause between connections to another node.
pub const PEER_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Connections to the port of other nodes that did not say who they are: this many from addresses of nodes, and as many
/// from others. For one more, one of the address that has most is closed.
pub const STRANGERS_MAX: usize = 128;

/// From one handshake with a stranger to the next, from addresses of nodes and from others: a flood of them takes a
/// tenth of the driver's time.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(2);

/// Connections that are accepted before a pause of [`ACCEPT_PAUSE`]: 4,000 a second, which take a tenth of the driver's
/// time. More wait with the system.
pub const ACCEPTS_PER_PAUSE: u64 = 8;

/// From one line of the log about refused connections to the next, for each reason.
pub const NOTE_EVERY: Duration = Duration::from_secs(10);

/// From one report of a node that drains to the next, and how long a report that etcd does not take waits.
pub const REPORT_EVERY_MS: u64 = 1_000;

/// After this long a report that etcd did not take is of no use: the operator's command has ended.
pub const REPORT_MAX_MS: u64 = 10_000;

/// The pause between two reads of etcd by a command that waits for nodes: all watched keys, half a megabyte.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A node reports within this time that it carries out an order: two of its ticks, and a busy machine.
pub const OBEYS_MAX: Duration = Duration::from_secs(10);

/// A command waits this long for reports, and looks for them every [`REPORTS_EVERY`].
pub const REPORTS_WAIT: Duration = Duration::from_secs(5);

/// See [`REPORTS_WAIT`]. Short, since clocks cannot be compared more exactly than that.
pub const REPORTS_EVERY: Duration = Duration::from_millis(100);

/// A command waits this long for the end of a drain: as long as a process gives its slots away, and the time that it
/// takes to begin and to leave.
pub const DRAIN_MAX: Duration = Duration::from_secs(140);

/// Parts become equal within this time. All slots of a node move in some seconds; loading large records takes longer.
pub const REBALANCE_MAX: Duration = Duration::from_secs(600);

/// After this long without a slot that moves, and being asked again, nodes give no more: more than the waits for a
/// parcel's answer and for a transfer without an outcome.
pub const STILL_MAX: Duration = Duration::from_secs(15);

/// Keys of others below the prefix that an operator is shown of one place.
pub const FOREIGN_KEYS_MAX: i64 = 10;

/// Bytes of a member's metrics that are read for its quota: ten times what etcd writes.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

/// From one question to a member of etcd for the size of its database to the next. The member is connected to for it.
pub const SIZE_EVERY_MS: u64 = 10_000;

/// Descriptors that a node holds at most: strangers of both kinds, a connection each way for every other node, two to
/// etcd with as many that are being made, two for its size, and some for the runtime and the data directory.
pub const DESCRIPTORS_MAX: usize =
    2 * STRANGERS_MAX + 2 * broker_core::cluster::limits::NODES_MAX + 16;

/// Of a handshake with a stranger: what TLS takes of one message, and its task.
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
