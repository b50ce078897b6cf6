//! Queues bytes for a session's socket: appends them to the outbox, announces them to the edge, and counts them if the
//! connection has fallen behind.

use crate::id::{Account, SessionKey, ShardId};
use crate::limits::{ASK_BYTES, ASK_BYTES_UNHEARD, CONTROL_BYTES_MAX, CONTROL_BYTES_WHEN_FULL};
use crate::session::outbox::DeliveryMark;
use crate::session::web_socket::{BoundsPlace, WebSocket};
use crate::session::{NEVER, SendState, Session, SessionState};
use crate::settings::{Proof, Reader};
use crate::shard::Sockets;
use crate::shard::context::Context;
use crate::shard::sockets::bounds::AllMessageBounds;
use crate::shard::todo::Todo;
use crate::time::Now;
use crate::{machine::Output, shard::Letter};
use codec::signal::{Action, Parser, Role};
use codec::ws::{self, Receiver, Side};

impl Sockets {
    #[inline]
    pub(crate) fn output(&mut self, output: Output<Letter>) {
        self.outputs.push(output);
    }

    /// Sends a message to another shard.
    pub(crate) fn post(&mut self, to: ShardId, letter: Letter) {
        self.output(Output::Post(to, Box::new(letter)));
    }

    /// Returns the oldest output that the edge has not yet taken.
    pub(crate) fn next_output(&mut self) -> Option<Output<Letter>> {
        if self.leaving.is_empty() {
            std::mem::swap(&mut self.leaving, &mut self.outputs);
            self.leaving.reverse();
        }
        self.leaving.pop()
    }

    /// Announces that a session has bytes to send.
    #[inline]
    pub(crate) fn touch(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.announces() {
            self.outputs.push(Output::Send(key));
        }
    }

    /// Appends non-message bytes (a response, a pong, a status or a close frame) to a session's outbox.
    pub(crate) fn push_control(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let pushed = session.outbox.push(&mut self.scratch.spares, write);
        if session.cut {
            self.backlog.cut += pushed;
        }
        cx.telemetry.count_control_queued(pushed);
        self.weigh(key);
        self.touch(key);
    }

    /// Appends the output of `write` to an open WebSocket's outbox, as one message of `bytes` bytes, and announces it.
    /// `waiting` is the number of message bytes queued on the whole shard. Returns the number of bytes appended, which
    /// exceeds `bytes` if the message is sent in fragments, and whether a ping must follow immediately so that its pong
    /// confirms the message.
    ///
    /// # Errors
    /// Returns [`NoRoom`] if nothing was appended.
    #[inline(always)]
    pub(crate) fn push_message(
        &mut self,
        to: SessionKey,
        launch: DeliveryMark,
        (bytes, waiting): (usize, u64),
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(usize, bool), NoRoom> {
        let shard_full = waiting + bytes as u64 > self.rules.outbox_bytes as u64;
        let unread = self.unconfirmed.unread_of(to);
        let session = self.sessions.get_mut(to).ok_or(NoRoom::Gone)?;
        let most = self.settings.limits.outbox_bytes;
        let Some(web_socket) = session.open() else {
            return Err(NoRoom::Connection);
        };
        let reader = reader_of(&self.messages, web_socket);
        if bytes > longest_for(reader) {
            return Err(NoRoom::TooLong);
        }
        let in_all = session.outbox.unsent().len() + unread;
        if session.outbox.bytes_kept().max(in_all) + bytes > most {
            return Err(NoRoom::Connection);
        }
        if shard_full {
            return Err(NoRoom::Shard);
        }
        let spares = &mut self.scratch.spares;
        let write = framed(reader, write);
        let pushed = session.outbox.push_message(spares, launch, write);
        debug_assert!(
            pushed == bytes
                || reader.is_some_and(|reader| pushed > bytes && bytes > reader.frame_bytes),
            "a message is as long as it says"
        );
        // A candidate gets its own ping only if the client is connected through another node.
        let has_ping = launch.action != Action::IceCandidate || session.is_inner();
        let by_pong = has_ping && self.settings.signaling.proof == Proof::Pong;
        let behind = session.behind;
        if session.announces() {
            self.outputs.push(Output::Send(to));
        }
        if behind {
            self.weigh(to);
        }
        Ok((pushed, by_pong))
    }

    /// Returns the number of bytes by which a frame of `bytes` bytes exceeds the limit of an open WebSocket's client.
    pub(crate) fn excess_for(&self, to: SessionKey, bytes: usize) -> usize {
        let web_socket = self.session(to).and_then(Session::open);
        let reader = web_socket.and_then(|it| reader_of(&self.messages, it));
        bytes.saturating_sub(longest_for(reader))
    }

    /// Appends a pending frame as one message, regardless of how much is already queued. Returns the number of bytes
    /// appended, or `None` if the session no longer exists. The caller must announce the frame with [`Sockets::touch`].
    pub(crate) fn push_kept(
        &mut self,
        to: SessionKey,
        launch: DeliveryMark,
        frame: &[u8],
    ) -> Option<usize> {
        let session = self.sessions.get_mut(to)?;
        let reader = session.open().and_then(|it| reader_of(&self.messages, it));
        let write = framed(reader, |out| out.extend_from_slice(frame));
        let spares = &mut self.scratch.spares;
        let pushed = session.outbox.push_message(spares, launch, write);
        if session.behind {
            self.weigh(to);
        }
        Some(pushed)
    }

    /// Records that the socket was full and the edge had to copy `bytes` bytes. On an HTTP connection, this starts the
    /// timeout for reading responses.
    pub(crate) fn launched(&mut self, key: SessionKey, bytes: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.outbox.launched(bytes);
        session.was_taken();
        if let SessionState::Http(http) = &session.state {
            let due = http.answer_due;
            self.arm(key, due);
            self.charge(key);
        }
    }

    /// Handles a report that the kernel has accepted the oldest `bytes` of a session's outbox, which occupy `on_wire`
    /// bytes on the wire. Every message whose last byte is among them counts as written.
    #[inline]
    pub(crate) fn sent(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        (bytes, on_wire): (usize, usize),
    ) {
        let now = cx.at.now;
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let had_messages = session.outbox.has_messages();
        let (mut messages, mut frames) = (0, 0);
        let (mut answers, mut much) = (false, false);
        let spares = &mut self.scratch.spares;
        let freed = session.outbox.sent(spares, (bytes, on_wire), now, |mark| {
            if mark.launch.call {
                cx.todo.offer_delivered(key, mark.launch.order);
            }
            let frame = mark.bytes as usize;
            cx.telemetry.count_written(&mut mark.launch, frame, cx.at);
            messages += 1;
            frames += frame;
            answers |= mark.launch.action == Action::SdpAnswer;
        });
        if messages > 0 {
            if let Some(tally) = session.tally_mut() {
                tally.messages_out = tally.messages_out.saturating_add(messages);
            }
            self.unconfirmed.bytes += frames;
            if !session.asking.list(true) {
                self.unconfirmed.fresh.push_back((now, key));
            }
            much = session.outbox.is_to_be_asked(ASK_BYTES_UNHEARD);
        }
        // The kernel is queried about messages only if TCP confirms them.
        let by_pong = self.settings.signaling.proof == Proof::Pong;
        let unread = (messages == 0 || by_pong) && session.asking.took(on_wire);
        if session.outbox.unsent().is_empty() {
            session.was_taken();
        }
        let all_sent = had_messages && !session.outbox.has_messages();
        let (behind, cut) = (session.behind, session.cut);
        let (mut is_open, mut has_slot) = (false, false);
        if let Some(web_socket) = session.open_mut() {
            (is_open, has_slot) = (true, !web_socket.superseded);
            web_socket.sends(now);
            if answers && let Some(ms) = web_socket.first_answer(now) {
                cx.telemetry.count_setup(key, ms, cx.at);
            }
        }
        // These bytes are no longer queued, so work that was waiting for them can continue.
        cx.telemetry.unload(freed);
        if all_sent && !has_slot {
            cx.todo.push(Todo::Released(key));
        }
        if cut {
            self.cut_shrinks(bytes);
        }
        if behind {
            self.weigh(key);
        }
        if !is_open {
            self.answers_went(key, now);
        }
        if !(much && self.ask_kernel(key)) && unread {
            self.output(Output::Ask(key));
        }
        if self.too_much_unconfirmed() {
            cx.todo.push(Todo::MakeProofRoom);
        }
    }

    /// Handles sent bytes on a connection without an open WebSocket. On an HTTP connection, they show that the peer is
    /// reading responses.
    fn answers_went(&mut self, key: SessionKey, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let (waits, left) = (session.answers_wait(), session.outbox.bytes());
        if let SessionState::Http(http) = &mut session.state {
            http.answer_due = if left == 0 {
                NEVER
            } else {
                now.after(self.settings.timeouts.answer_ms)
            };
            if !waits && !http.buffer.is_empty() {
                self.turns.answered.push_back(key);
            }
        }
        self.charge(key);
    }

    /// Sends a copy of a message, written by `write`, if there is room. The copy does not count as a message.
    pub(crate) fn push_copy(
        &mut self,
        cx: &mut Context,
        to: SessionKey,
        launch: DeliveryMark,
        bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let launch = DeliveryMark {
            counted: false,
            accepted_us: None,
            ..launch
        };
        let room = (bytes, cx.telemetry.outbox_bytes());
        if let Ok((queued, _)) = self.push_message(to, launch, room, write) {
            cx.telemetry.count_copy_queued(queued);
        }
    }

    /// Makes a session's peer appear unreachable, or reachable again, as part of a fault.
    pub(crate) fn half_open(&mut self, key: SessionKey, half_open: bool) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.asking.set_half_open(half_open);
        }
    }

    /// Returns whether a fault currently makes a session's peer appear unreachable.
    #[inline]
    pub(crate) fn is_half_open(&self, key: SessionKey) -> bool {
        self.sessions
            .get(key)
            .is_some_and(|session| session.asking.is_half_open())
    }

    /// Stops withholding a session's bytes. The caller must announce them with [`Sockets::touch`].
    pub(crate) fn show(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key)
            && let SendState::Withheld | SendState::WithheldForGood = session.sending
        {
            session.sending = SendState::Idle;
        }
    }

    /// Returns whether another response, such as a pong, may be queued. A peer that triggers responses without reading
    /// them receives no further ones. Message bytes are not taken into account.
    pub(crate) fn has_control_room(&self, cx: &Context, key: SessionKey) -> bool {
        let session = self.sessions.get(key);
        let waiting = session.map_or(0, |session| session.outbox.load().control);
        let all = usize::try_from(cx.telemetry.control_bytes()).unwrap_or(usize::MAX);
        let most = if all > self.rules.request_bytes {
            CONTROL_BYTES_WHEN_FULL
        } else {
            CONTROL_BYTES_MAX
        };
        waiting < most
            && waiting + self.unconfirmed.unread_of(key) < self.settings.limits.outbox_bytes
    }
}

/// The state needed to process the frames in a batch of received bytes.
pub(crate) struct Frames {
    /// The connection that sent the frames.
    pub(crate) from: SessionKey,
    /// The sender's role.
    pub(crate) role: Role,
    pub(crate) parser: Box<Parser>,
    /// Index of the connection's message limits.
    pub(crate) bounds: BoundsPlace,
    /// Number of pings among the frames.
    pub(crate) pings: u32,
    /// Whether the messages in these frames may have been delayed on their way to the shard. See
    /// [`delivery::late_outcome`](crate::shard::road::delivery::late_outcome).
    pub(crate) may_be_late: bool,
}

/// Lending the receiver and the parser while a WebSocket's bytes are being processed.
impl Sockets {
    /// Takes a session's receiver and the shard's parser, which [`Self::take_lent`] puts back. Returns `None` if the
    /// session has no open WebSocket.
    #[inline]
    pub(crate) fn lend(&mut self, from: SessionKey, now: Now) -> Option<(Receiver, Frames)> {
        let held = now < self.standstill().read_by;
        let web_socket = self.web_socket(from)?;
        let receiver = std::mem::replace(&mut web_socket.receiver, Receiver::new(Side::Server));
        let may_be_late = held || web_socket.superseded;
        let reader = Frames {
            from,
            role: web_socket.role.on_wire(),
            bounds: web_socket.bounds(),
            parser: self.scratch.parser.take().unwrap_or_default(),
            pings: 0,
            may_be_late,
        };
        Some((receiver, reader))
    }

    /// Puts back the receiver and the parser, and records that the peer is active. Returns `false` if the session no
    /// longer exists.
    #[inline(always)]
    pub(crate) fn take_lent(&mut self, receiver: Receiver, reader: Frames, now: Now) -> bool {
        let key = reader.from;
        self.scratch.parser = Some(reader.parser);
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let begun = !receiver.is_idle();
        let mut asks = false;
        match &mut session.state {
            SessionState::Open(web_socket) => {
                web_socket.receiver = receiver;
                asks = session.outbox.is_to_be_asked(ASK_BYTES);
                if web_socket.heard(begun, now) {
                    self.arm_open(key, now);
                }
            }
            // A receiver that found an error is not used again. Otherwise, it continues to look for the peer's close
            // frame.
            SessionState::AwaitCloseEcho(web_socket, _) => web_socket.receiver = receiver,
            SessionState::Http(_) | SessionState::AwaitGone(_) => {}
        }
        if asks {
            self.ask_kernel(key);
        }
        true
    }
}

/// Why a message cannot be appended to its recipient's outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The recipient is gone.
    Gone,
    /// The recipient has no open WebSocket, or its outbox is full.
    Connection,
    /// The shard has reached its limit on bytes queued for all connections.
    Shard,
    /// The message is too long for the recipient.
    TooLong,
}

/// Returns the limits of a connection's client program, or `None` if the program is unknown.
#[inline]
fn reader_of(messages: &AllMessageBounds, web_socket: &WebSocket) -> Option<Reader> {
    let program = web_socket.program();
    (!program.is_unknown()).then(|| messages.at(web_socket.bounds()).reader(program))
}

/// Returns the maximum size in bytes of a single-frame message to a reader, including the frame header.
#[inline]
fn longest_for(reader: Option<Reader>) -> usize {
    let most = reader.map_or(usize::MAX, |reader| reader.message_bytes);
    most.saturating_add(ws::header_bytes(most))
}

/// Turns a function that writes a single frame into one that splits the message into fragments for the reader.
#[inline]
fn framed(reader: Option<Reader>, write: impl FnOnce(&mut Vec<u8>)) -> impl FnOnce(&mut Vec<u8>) {
    let most = reader.map_or(usize::MAX, |reader| reader.frame_bytes);
    move |out| {
        let begin = out.len();
        write(out);
        ws::cut(out, begin, most);
    }
}

// Connections that have fallen behind. The backlog counts their bytes; see [`crate::shard::sockets`].

impl Sockets {
    /// Handles a full socket. If it belongs to an open WebSocket, that connection has now fallen behind. `account` is
    /// the channel's account, if the channel exists.
    pub(crate) fn begin_behind(&mut self, key: SessionKey, account: Option<Account>) {
        let session = self.sessions.get_mut(key);
        let Some(session) = session.filter(|session| session.open().is_some()) else {
            return;
        };
        session.behind = true;
        if let (Some(channel), Some(account)) = (session.channel(), account) {
            self.backlog.admit(channel, account);
        }
        self.weigh(key);
    }

    /// Updates a connection's outbox size in the backlog. Does nothing unless the connection has fallen behind.
    #[inline]
    pub(crate) fn weigh(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.behind {
            let bytes = session.outbox.bytes();
            let behind = bytes > 0 && session.open().is_some();
            session.behind = behind;
            self.set_weight(key, if behind { bytes } else { 0 });
        }
    }

    /// Removes a connection from the backlog because it no longer receives messages.
    pub(crate) fn stops_being_behind(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key);
        if session.is_some_and(|session| std::mem::take(&mut session.behind)) {
            self.set_weight(key, 0);
        }
    }

    fn set_weight(&mut self, key: SessionKey, bytes: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let after = u32::try_from(bytes).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut session.weight, after);
        let channel = session.channel();
        self.backlog.change(channel, key, (before, after));
    }

    /// Returns whether connections that have fallen behind hold more than their share of the outbox bytes.
    #[inline]
    pub(crate) fn too_far_behind(&self) -> bool {
        let most = self.rules.outbox_bytes;
        self.backlog.bytes > most - most / 4
    }

    /// Records that a connection is being closed because its peer does not read. Returns `true` if all such connections
    /// together hold too many bytes, in which case the caller must abort this one.
    pub(crate) fn note_cut(&mut self, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        if !std::mem::replace(&mut session.cut, true) {
            self.backlog.cut += session.outbox.bytes();
        }
        self.backlog.cut > self.rules.outbox_bytes / 8
    }

    /// Subtracts bytes that have left the outbox of a connection that is being closed because its peer does not read.
    #[inline]
    pub(crate) fn cut_shrinks(&mut self, bytes: usize) {
        self.backlog.cut = self.backlog.cut.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ChannelKey, ShardId};
    use crate::journal::EndReason;
    use crate::limits::UNREAD_BYTES_FREE;
    use crate::machine::{Input, Machine as _, Peer};
    use crate::placement::Placement;
    use crate::session::web_socket::{self, AdmissionTerms, WebSocket};
    use crate::settings::{Program, Settings};
    use crate::shard::{Shard, Start};
    use crate::time::Moment;
    use std::sync::Arc;

    /// Creates a shard with one client connection that has not received any input yet.
    fn shard_with_a_connection() -> (Shard, SessionKey) {
        let seeds = [1, 2, 3, 4];
        let settings = Arc::new(Settings::default());
        let placement = Placement::new(seeds, 1);
        let mut shard = Shard::new(Start::bare(settings, ShardId(0), placement, seeds));
        let peer = Peer {
            remote: ([192, 0, 2, 1], 9).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let session = shard.open(peer, Moment::default()).unwrap();
        (shard, session)
    }

    /// Checks that many unread responses are charged to their peer until it has received them.
    #[test]
    fn answers_in_the_kernel_are_charged_until_they_are_acknowledged() {
        let (mut shard, session) = shard_with_a_connection();
        let mut at = Moment::default();
        let asked = |shard: &mut Shard| {
            let outputs = std::iter::from_fn(|| shard.poll_output());
            outputs.filter(|it| matches!(it, Output::Ask(_))).count()
        };
        let told = |shard: &mut Shard, bytes, at| {
            let told = Input::Unacknowledged {
                session,
                bytes,
                round_trip_ms: 0,
            };
            shard.handle(told, at);
            (
                shard.state.sockets.requests.held.bytes,
                shard.is_unconfirmed(session),
            )
        };
        let (mut asks, answers) = (0, 3 * UNREAD_BYTES_FREE / 100);
        for _ in 0..answers {
            let (sockets, _, cx, _) = shard.state.parts();
            sockets.push_control(cx, session, |out| out.extend_from_slice(&[b'a'; 100]));
            let sent = Input::Sent {
                session,
                bytes: 100,
                on_wire: 100,
            };
            shard.handle(sent, at);
            asks += asked(&mut shard);
        }
        assert_eq!(
            asks,
            answers / 16,
            "a question for each 16 steps of 256 bytes"
        );
        assert_eq!(told(&mut shard, 4_000, at), (0, false), "what any may cost");
        assert_eq!(told(&mut shard, 12_000, at), (12_000, true));
        for (bytes, then) in [(9_000, (9_000, true)), (100, (0, false))] {
            at.now = at.now.after(2_000);
            shard.handle(Input::Tick, at);
            assert_eq!(asked(&mut shard), 1, "again, each second");
            assert_eq!(told(&mut shard, bytes, at), then);
        }
        at.now = at.now.after(2_000);
        shard.handle(Input::Tick, at);
        assert_eq!(asked(&mut shard), 0);
    }

    #[test]
    fn bytes_for_a_connection_that_was_cut_off_are_counted_with_those_before() {
        let (mut shard, key) = shard_with_a_connection();
        let at = Moment::default();
        let terms = AdmissionTerms {
            notices: true,
            program: Program::default(),
            bounds: BoundsPlace::default(),
            ends: NEVER,
        };
        let web_socket = WebSocket::new(
            ChannelKey::new(1, 0),
            web_socket::Role::Master,
            terms,
            at.now,
        );
        let (sockets, _, cx, _) = shard.state.parts();
        sockets.begin_web_socket(key, web_socket);
        sockets.close(cx, key, EndReason::SlowConsumer);
        sockets.note_cut(key);
        let closed = sockets.backlog.cut;
        assert_ne!(closed, 0);
        // A status for a message that was sent earlier may be queued after its sender was closed.
        sockets.push_control(cx, key, |out| out.extend_from_slice(b"status"));
        assert_eq!(sockets.backlog.cut, closed + 6);
        sockets.invariants();
    }
}
