//! A connection's life in its worker: dialled, secured, upgraded, spoken on, closed, and its slot freed.
//!
//! ```text
//!  AwaitConnect ─► AwaitHandshake (TLS) ─► AwaitAnswer ─► Open ─► AwaitCloseEcho ─► AwaitEnd ─► Idle
//!        └──────────────┴──────────── fail, cut ───────────┴─────────────┴─────────────▲
//! ```
//! A slot is freed when nothing in the kernel refers to its socket: neither connect nor receive nor send.

use super::board::Phase;
use super::machine::bind_address_no_port;
use super::slot::{Stage, index_of};
use super::tls::Tls;
use super::worker::Worker;
use crate::options::Mode;
use crate::peer::{Desk, Name, Peer, Progress};
use ring::{Completion, Received};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;

impl Worker<'_> {
    /// Opens connections, as many at once as the mode asks for.
    pub(super) fn open_some(&mut self, phase: Phase) {
        let at_once = match self.shared.plan.mode {
            Mode::Relay | Mode::Idle => OPENING_MAX,
            Mode::Connect | Mode::Sessions | Mode::Storm => usize::MAX,
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

    pub(super) fn complete(&mut self, completion: Completion, phase: Phase) {
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

    pub(super) fn connected(&mut self, index: usize, result: io::Result<()>) {
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
    pub(super) fn write(
        &mut self,
        index: usize,
        write: impl FnOnce(&mut Peer, &mut Desk, &mut Vec<u8>),
    ) {
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
    pub(super) fn close(&mut self, index: usize) {
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
    pub(super) fn fail(&mut self, index: usize, kind: &str) {
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
    pub(super) fn cut(&mut self, index: usize) {
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
    pub(super) fn rearm(&mut self) {
        for index in std::mem::take(&mut self.rearm) {
            if !self.slots[index as usize].receiving {
                self.arm(index as usize);
            }
        }
    }

    /// Lists the slot for the next flush if it has something to send; else takes its buffer back.
    pub(super) fn mark(&mut self, index: usize) {
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
    pub(super) fn flush(&mut self) {
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
pub(super) fn kind_of(error: &io::Error) -> String {
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
pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Connections under way at once in one thread, where it is not the load itself.
const OPENING_MAX: usize = 64;
/// Buffers kept for reuse, and how large each may be.
const SPARE_MAX: usize = 1024;
const SPARE_BYTES: usize = 256 * 1024;
