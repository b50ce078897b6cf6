//! One thread of a run: its peers, their sockets, and the loop that drives both on one ring.
//!
//! A turn: look at the phase, open what may be opened, enter the ring, serve every completion, flush every slot that has
//! something to send once. So a burst that arrives in one read is answered by one send.

use super::board::{Board, Gauge, Phase};
use super::machine::bind_address_no_port;
use super::slot::{Slot, Stage, index_of};
use super::tls::{Client, Tls};
use crate::measure::{Connections, Errors, Latencies, Tally};
use crate::options::{Mode, Plan};
use crate::peer::{Desk, Name, Peer, Progress, missing};
use ring::{Completion, Received, Ring, Settings};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a worker without work sleeps at most before it looks at the phase.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is the same for all workers of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) board: &'a Board,
    pub(super) tls: Option<&'a Client>,
    /// The run's clock begins here.
    pub(super) zero: Instant,
}

/// One thread's half of the run.
pub(super) struct Worker<'a> {
    shared: Shared<'a>,
    gauge: &'a Gauge,
    ring: Ring,
    /// Channel after channel, each with its master first; slots likewise.
    peers: Vec<Peer>,
    slots: Vec<Slot>,
    desk: Desk,
    latencies: Latencies,
    connections: Connections,
    open: u64,
    cycles: u64,
    /// Slots to be opened, in this order.
    queue: VecDeque<u32>,
    opening: usize,
    /// How many may be opened in the first phase.
    first: u64,
    launched: u64,
    rearm: Vec<u32>,
    dirty: Vec<u32>,
    /// Empty buffers, to be used again.
    spare: Vec<Vec<u8>>,
    plain: Vec<u8>,
    reply: Vec<u8>,
    done: Done,
    close_begun_ns: u64,
}

/// Which steps of the phases were taken.
#[derive(Debug, Default)]
struct Done {
    start: bool,
    close: bool,
    cut: bool,
}

/// What a worker brings home.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    pub(super) tally: Tally,
    pub(super) errors: Errors,
    pub(super) latencies: Latencies,
    pub(super) connections: Connections,
}

impl<'a> Worker<'a> {
    /// Worker `number` of `of`: it has every `of`-th channel.
    ///
    /// # Errors
    /// The ring cannot be made.
    pub(super) fn new(shared: Shared<'a>, number: u32, of: u32) -> io::Result<Self> {
        let plan = shared.plan;
        let gauge = shared.board.gauges.get(number as usize);
        let gauge = gauge.ok_or_else(|| io::Error::other("a worker without a gauge"))?;
        let channels = (number..plan.channels).step_by(of as usize);
        let names = channels
            .flat_map(|channel| (0..=plan.viewers).map(move |place| Name { channel, place }));
        let peers: Vec<_> = names.map(|name| Peer::new(name, plan.viewers)).collect();
        let connecting = (0..).zip(&peers);
        let queue: VecDeque<_> = connecting
            .filter(|(_, peer)| plan.with_masters || peer.name().place > 0)
            .map(|(index, _)| index)
            .collect();
        let first = (queue.len() as u64 / FIRST_SHARE).clamp(1, FIRST_MAX / u64::from(of));
        Ok(Self {
            shared,
            gauge,
            ring: Ring::new(&Settings::default())?,
            slots: peers.iter().map(|_| Slot::default()).collect(),
            desk: Desk::new(
                plan.terms,
                u64::from(plan.terms.run) << 16 | u64::from(number),
            ),
            latencies: Latencies::default(),
            connections: Connections::default(),
            open: 0,
            cycles: 0,
            opening: 0,
            first,
            launched: 0,
            rearm: Vec::new(),
            dirty: Vec::new(),
            spare: Vec::new(),
            plain: Vec::new(),
            reply: Vec::new(),
            done: Done::default(),
            close_begun_ns: 0,
            queue,
            peers,
        })
    }

    /// Drives the peers through all phases.
    ///
    /// # Errors
    /// The ring failed.
    pub(super) fn run(mut self) -> io::Result<Harvest> {
        loop {
            let phase = self.shared.board.phase();
            self.look_at(phase);
            self.flush();
            self.publish();
            if phase == Phase::Close && self.is_over() {
                break;
            }
            self.ring.enter(1, Some(LOOK_EVERY))?;
            self.look_at_clock();
            while let Some(completion) = self.ring.next() {
                self.complete(completion, phase);
            }
            self.rearm();
        }
        Ok(self.harvest())
    }

    fn harvest(self) -> Harvest {
        let mut tally = self.desk.tally;
        if self.shared.plan.mode == Mode::Relay {
            let per_channel = self.shared.plan.peers_per_channel() as usize;
            let missing: u64 = self.peers.chunks(per_channel).map(missing).sum();
            tally.lost = missing.saturating_sub(tally.corrupted + tally.misrouted);
        }
        let mut latencies = self.latencies;
        latencies.message = self.desk.latency;
        Harvest {
            tally,
            errors: self.desk.errors,
            latencies,
            connections: self.connections,
        }
    }

    fn look_at_clock(&mut self) {
        let elapsed = self.shared.zero.elapsed();
        self.desk.now_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    }

    fn publish(&self) {
        let gauge = self.gauge;
        for (place, value) in [
            (&gauge.opened, self.connections.opened),
            (&gauge.failed, self.connections.failed),
            (&gauge.open, self.open),
            (&gauge.cycles, self.cycles),
            (&gauge.sent, self.desk.tally.sent),
            (&gauge.received, self.desk.tally.received),
        ] {
            place.store(value, Ordering::Relaxed);
        }
    }

    /// Takes the steps that the phase asks for.
    fn look_at(&mut self, phase: Phase) {
        let running = phase == Phase::WarmUp || phase == Phase::Measure;
        self.desk.speaking = running && self.shared.plan.mode == Mode::Relay;
        self.desk.measuring = phase == Phase::Measure;
        if self.desk.speaking && !self.done.start {
            self.done.start = true;
            self.look_at_clock();
            for index in 0..self.slots.len() {
                if self.slots[index].stage == Stage::Open {
                    self.write(index, |peer, desk, out| peer.start(desk, out));
                }
            }
        }
        if phase >= Phase::Drain {
            self.queue.clear();
        }
        if phase == Phase::Close && !self.done.close {
            self.done.close = true;
            self.look_at_clock();
            self.close_begun_ns = self.desk.now_ns;
            for index in 0..self.slots.len() {
                self.close(index);
            }
        }
        self.open_some(phase);
    }

    /// Opens connections, as many at once as the mode asks for.
    fn open_some(&mut self, phase: Phase) {
        let at_once = match self.shared.plan.mode {
            Mode::Relay | Mode::Idle => OPENING_MAX,
            Mode::Connect => usize::MAX,
        };
        while self.opening < at_once && (phase > Phase::OpenFirst || self.launched < self.first) {
            let Some(index) = self.queue.pop_front() else {
                return;
            };
            self.launched += 1;
            match self.dial(index) {
                Ok(socket) => {
                    self.opening += 1;
                    let slot = &mut self.slots[index as usize];
                    slot.stage = Stage::AwaitConnect;
                    slot.connecting = true;
                    slot.since_ns = self.desk.now_ns;
                    let to = self.shared.plan.target.address;
                    self.ring.connect(socket.as_fd(), slot.key(index), to);
                    slot.socket = Some(socket);
                }
                Err(error) => self.refused(&error),
            }
        }
    }

    /// A socket, from the source address that is this peer's.
    fn dial(&self, index: u32) -> io::Result<Socket> {
        let plan = self.shared.plan;
        let socket = Socket::new(
            Domain::for_address(plan.target.address),
            Type::STREAM.cloexec(),
            None,
        )?;
        socket.set_tcp_nodelay(true)?;
        if let Some(sources) = &plan.sources {
            let Name { channel, place } = self.peers[index as usize].name();
            let number = channel
                .wrapping_mul(plan.peers_per_channel())
                .wrapping_add(place);
            // The port is chosen at connect, so that one port serves many targets and addresses.
            bind_address_no_port(&socket)?;
            socket.bind(&SocketAddr::from((sources.of(number), 0)).into())?;
        }
        Ok(socket)
    }

    fn complete(&mut self, completion: Completion, phase: Phase) {
        match completion {
            Completion::Connected { key, result } => self.connected(index_of(key), result),
            Completion::Received {
                key,
                received,
                more,
            } => self.received(index_of(key), received, more, phase),
            Completion::Sent { key, bytes, result } => self.sent(index_of(key), bytes, result),
            Completion::Accepted { .. } | Completion::Rang { .. } | Completion::TimedOut => {}
        }
    }

    fn connected(&mut self, index: usize, result: io::Result<()>) {
        let slot = &mut self.slots[index];
        slot.connecting = false;
        if slot.stage != Stage::AwaitConnect {
            return self.release(index);
        }
        if let Err(error) = result {
            self.opening -= 1;
            self.refused(&error);
            return self.slots[index].clear();
        }
        let since_ns = std::mem::replace(&mut slot.since_ns, self.desk.now_ns);
        let span = self.desk.now_ns - since_ns;
        self.latencies.connect.record_ns(span);
        self.arm(index);
        let shared = self.shared;
        match shared.tls {
            None => self.ask(index),
            Some(client) => {
                let slot = &mut self.slots[index];
                slot.stage = Stage::AwaitHandshake;
                match client.connect(&mut slot.out) {
                    Ok(tls) => slot.tls = Some(Box::new(tls)),
                    Err(error) => return self.fail(index, &kind_of(&error)),
                }
                self.mark(index);
            }
        }
    }

    /// Sends the upgrade request.
    fn ask(&mut self, index: usize) {
        self.slots[index].stage = Stage::AwaitAnswer;
        let plan = self.shared.plan;
        self.write(index, |peer, desk, out| {
            peer.connect(&plan.target.authority, &plan.naming, desk, out);
        });
    }

    fn received(&mut self, index: usize, received: Received, more: bool, phase: Phase) {
        self.slots[index].receiving = more;
        match received {
            Received::Bytes(mut lent) => {
                // Taken out for the call: the peer reads in place while the worker writes elsewhere.
                let mut slot = std::mem::take(&mut self.slots[index]);
                if slot.out.capacity() == 0 {
                    slot.out = self.spare.pop().unwrap_or_default();
                }
                let bytes = self.ring.bytes(&mut lent);
                let peer = &mut self.peers[index];
                let result = match &mut slot.tls {
                    None => peer
                        .receive(bytes, &mut self.desk, &mut slot.out)
                        .map_err(|error| error.kind()),
                    Some(tls) => {
                        let buffers = (&mut self.plain, &mut self.reply);
                        secure(tls, peer, bytes, &mut self.desk, buffers, &mut slot.out)
                    }
                };
                self.slots[index] = slot;
                self.ring.give_back(lent);
                if !more {
                    self.rearm.push(narrow(index));
                }
                self.advance(index, result, phase);
            }
            Received::NoBuffers => self.rearm.push(narrow(index)),
            Received::End | Received::Cancelled => {
                if self.slots[index].stage != Stage::AwaitEnd {
                    self.fail(index, "ended_early");
                }
                self.release(index);
            }
            Received::Failed(error) => {
                if self.slots[index].stage != Stage::AwaitEnd {
                    self.fail(index, &kind_of(&error));
                }
                self.release(index);
            }
        }
    }

    /// Goes on after bytes were taken in.
    fn advance(&mut self, index: usize, result: Result<Progress, String>, phase: Phase) {
        self.mark(index);
        let stage = self.slots[index].stage;
        let progress = match result {
            Ok(progress) => progress,
            Err(_) if stage == Stage::AwaitEnd => return,
            Err(kind) => return self.fail(index, &kind),
        };
        let now_ns = self.desk.now_ns;
        let slot = &mut self.slots[index];
        if stage == Stage::AwaitHandshake && slot.tls.as_ref().is_some_and(|t| !t.is_handshaking())
        {
            let since_ns = std::mem::replace(&mut slot.since_ns, now_ns);
            self.latencies.tls.record_ns(now_ns - since_ns);
            self.ask(index);
        }
        if progress.opened && stage == Stage::AwaitAnswer {
            let slot = &mut self.slots[index];
            slot.stage = Stage::Open;
            self.latencies.upgrade.record_ns(now_ns - slot.since_ns);
            self.opening -= 1;
            self.open += 1;
            self.connections.opened += 1;
            self.connections.peak = self.connections.peak.max(self.open);
            if self.shared.plan.mode == Mode::Connect || phase == Phase::Close {
                self.close(index);
            }
        }
        if progress.closed && self.slots[index].stage == Stage::AwaitCloseEcho {
            self.slots[index].stage = Stage::AwaitEnd;
            self.open -= 1;
            self.cycles += 1;
        }
        if progress.closed_by_service && self.slots[index].stage.is_open() {
            self.slots[index].stage = Stage::AwaitEnd;
            self.open -= 1;
            self.connections.failed += 1;
            self.desk.errors.count("closed_by_service");
        }
    }

    fn sent(&mut self, index: usize, bytes: Vec<u8>, result: io::Result<usize>) {
        self.slots[index].sending = false;
        self.keep(bytes);
        if let Err(error) = result
            && self.slots[index].stage != Stage::AwaitEnd
        {
            self.fail(index, &kind_of(&error));
        }
        self.mark(index);
        self.release(index);
    }

    /// Has the peer write something, and queues it for sending.
    fn write(&mut self, index: usize, write: impl FnOnce(&mut Peer, &mut Desk, &mut Vec<u8>)) {
        let slot = &mut self.slots[index];
        if slot.out.capacity() == 0 {
            slot.out = self.spare.pop().unwrap_or_default();
        }
        let peer = &mut self.peers[index];
        match &mut slot.tls {
            None => write(peer, &mut self.desk, &mut slot.out),
            Some(tls) => {
                self.reply.clear();
                write(peer, &mut self.desk, &mut self.reply);
                if let Err(error) = tls.send(&self.reply, &mut slot.out) {
                    return self.fail(index, &kind_of(&error));
                }
            }
        }
        self.mark(index);
    }

    /// Begins the end of a connection, whatever stage it is in.
    fn close(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.stage == Stage::Open {
            slot.stage = Stage::AwaitCloseEcho;
            self.write(index, Peer::close);
        } else if slot.stage.is_opening() {
            slot.stage = Stage::AwaitEnd;
            self.opening -= 1;
            self.cut(index);
        }
    }

    /// A connection ended otherwise than we wanted.
    fn fail(&mut self, index: usize, kind: &str) {
        self.desk.errors.count(kind);
        self.connections.failed += 1;
        let slot = &mut self.slots[index];
        self.opening -= usize::from(slot.stage.is_opening());
        self.open -= u64::from(slot.stage.is_open());
        slot.stage = Stage::AwaitEnd;
        self.cut(index);
    }

    /// A connection did not come about.
    fn refused(&mut self, error: &io::Error) {
        self.desk.errors.count(&kind_of(error));
        self.connections.failed += 1;
    }

    /// Ends the socket both ways. What the kernel holds of it completes by that.
    fn cut(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.broken = true;
        if let Some(socket) = &slot.socket {
            // Fails if the peer was faster, which is as well.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.release(index);
    }

    /// Frees the slot if nothing refers to its socket; in a churn it goes round again.
    fn release(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.is_over() {
            let again = self.shared.plan.mode == Mode::Connect && !slot.broken;
            slot.clear();
            if again {
                self.queue.push_back(narrow(index));
            }
        }
    }

    fn arm(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Some(socket) = &slot.socket {
            let key = slot.key(narrow(index));
            self.ring.receive_many(socket.as_fd(), key);
            slot.receiving = true;
        }
    }

    /// Arms the receives that ended although their connections are well.
    fn rearm(&mut self) {
        for index in std::mem::take(&mut self.rearm) {
            if !self.slots[index as usize].receiving {
                self.arm(index as usize);
            }
        }
    }

    /// Lists the slot for the next flush if it has something to send; else takes its buffer back.
    fn mark(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.out.is_empty() {
            let bytes = std::mem::take(&mut slot.out);
            self.keep(bytes);
        } else if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(narrow(index));
        }
    }

    /// One send for each slot that has something to send.
    fn flush(&mut self) {
        for place in 0..self.dirty.len() {
            let index = self.dirty[place];
            let slot = &mut self.slots[index as usize];
            slot.dirty = false;
            let ready = !slot.sending && !slot.connecting && !slot.broken && !slot.out.is_empty();
            if let Some(socket) = &slot.socket
                && ready
            {
                let bytes = std::mem::take(&mut slot.out);
                let key = slot.key(index);
                self.ring.send(socket.as_fd(), key, bytes, 0);
                slot.sending = true;
            }
        }
        self.dirty.clear();
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if (1..=SPARE_BYTES).contains(&bytes.capacity()) && self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Whether every connection is gone; one that does not go in time is cut, and then left.
    fn is_over(&mut self) -> bool {
        self.look_at_clock();
        let waited = Duration::from_nanos(self.desk.now_ns - self.close_begun_ns);
        if waited > CLOSE_PATIENCE && !self.done.cut {
            self.done.cut = true;
            for index in 0..self.slots.len() {
                if self.slots[index].stage.is_open() {
                    self.fail(index, "close_timeout");
                } else if self.slots[index].stage == Stage::AwaitEnd {
                    self.cut(index);
                }
            }
        }
        let gone = self.slots.iter().all(|slot| slot.stage == Stage::Idle);
        gone || waited > 2 * CLOSE_PATIENCE
    }
}

/// Takes records in, and the peer's reply to what they say out.
fn secure(
    tls: &mut Tls,
    peer: &mut Peer,
    records: &[u8],
    desk: &mut Desk,
    (plain, reply): (&mut Vec<u8>, &mut Vec<u8>),
    out: &mut Vec<u8>,
) -> Result<Progress, String> {
    plain.clear();
    reply.clear();
    tls.receive(records, plain, out)
        .map_err(|error| kind_of(&error))?;
    if plain.is_empty() {
        return Ok(Progress::default());
    }
    let progress = peer.receive(plain, desk, reply);
    tls.send(reply, out).map_err(|error| kind_of(&error))?;
    progress.map_err(|error| error.kind())
}

/// The name under which a failure of the world is counted.
fn kind_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connect_refused".into(),
        Some(libc::ECONNRESET | libc::EPIPE) => "reset".into(),
        Some(libc::ETIMEDOUT) => "timeout".into(),
        Some(libc::EADDRNOTAVAIL) => "ports_exhausted".into(),
        Some(libc::EMFILE | libc::ENFILE) => "descriptors_exhausted".into(),
        Some(_) => format!("io: {error}"),
        None => format!("tls: {error}"),
    }
}

/// Slots are numbered by 32 bits: a worker has at most 10⁹ peers by the bounds of the options, and memory for far fewer.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Connections under way at once in one thread, where it is not the load itself.
const OPENING_MAX: usize = 64;
/// Of this many connections, the first is opened in the first phase; and at most so many in all.
const FIRST_SHARE: u64 = 8;
const FIRST_MAX: u64 = 1024;
/// Buffers kept for reuse, and how large each may be.
const SPARE_MAX: usize = 1024;
const SPARE_BYTES: usize = 256 * 1024;
/// How long closing handshakes may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
