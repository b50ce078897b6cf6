//! Input of clients: upgrades, messages of all kinds, calls, violations.

use crate::sim::records::{BORN, name_of};
use crate::sim::socket::{ConnId, Role};
use crate::sim::words::{Call, Offer, Piece, Shape, Text};
use crate::sim::world::World;
use broker_core::journal::Unaccepted;
use codec::signal;

/// No client id, and no correlation id.
pub(crate) const NO_NAME: &str = "not a name";

/// The account of a channel: callers have the first.
pub(crate) fn account_of(name: &str, accounts: usize) -> String {
    let number = name.trim_start_matches("channel").parse().unwrap_or(0);
    (123_456_789_012 + number % accounts).to_string()
}

impl World {
    pub(crate) fn name(&mut self) -> String {
        format!("channel{}", self.random.usize(0..self.plan.channels))
    }

    /// A name in the account of all callers.
    fn own_name(&mut self) -> String {
        let own = self.plan.channels.div_ceil(self.plan.accounts);
        format!("channel{}", self.random.usize(0..own) * self.plan.accounts)
    }

    /// An ARN that the client may know: the channel's own, or one that is stale or unknown.
    pub(crate) fn arn(&mut self) -> String {
        let name = self.name();
        let current = self.records.current(&name);
        let current = current.map(|record| record.arn.clone());
        match current {
            Some(arn) if self.random.u32(0..12) > 0 => arn,
            Some(_) | None => {
                let account = account_of(&name, self.plan.accounts);
                format!("arn:aws:kinesisvideo:us-west-2:{account}:channel/{name}/{BORN}")
            }
        }
    }

    pub(crate) fn new_connection(&mut self, role: Role) -> Option<ConnId> {
        let shard = self.random.usize(0..self.shards.len());
        let tls = self.random.u32(0..4) == 0;
        let conn = self.connect(shard, tls, role)?;
        if tls && self.random.u32(0..8) > 0 {
            self.secure(conn);
        }
        Some(conn)
    }

    pub(crate) fn new_peer(&mut self, is_viewer: bool) {
        let arn = self.arn();
        let role = match is_viewer {
            true => Role::Viewer(arn, self.viewer_id()),
            false => Role::Master(arn),
        };
        self.connect_as(role);
    }

    pub(crate) fn connect_as(&mut self, role: Role) {
        let (arn, viewer) = match role.clone() {
            Role::Master(arn) => (arn, None),
            Role::Viewer(arn, viewer) => (arn, Some(viewer)),
            Role::Caller => panic!("callers make requests"),
        };
        let Some(conn) = self.new_connection(role) else {
            return;
        };
        if self.random.u32(0..30) > 0 {
            let wss = self.random.u32(0..3) == 0;
            self.write(conn, Piece::Upgrade { arn, viewer, wss });
        }
    }

    pub(crate) fn viewer_id(&mut self) -> String {
        format!("viewer-{}", self.random.usize(0..self.plan.ids))
    }

    pub(crate) fn alexa_id(&mut self) -> String {
        match self.random.u32(0..5) {
            0 => self.viewer_id(),
            other => format!("alexa-{}", other % 3),
        }
    }

    /// The client writes something. Sometimes the machine gets it at once.
    pub(crate) fn write(&mut self, conn: ConnId, piece: Piece) {
        let mask = self.random.u32(..).to_ne_bytes();
        let socket = &mut self.sockets[conn];
        match &piece {
            Piece::Body(call) => {
                call.write_head(&mut socket.up);
                socket.pieces.push_back((socket.up.len(), Piece::Head));
            }
            Piece::Message(text) if text.shape != Shape::Broken && !text.payload.is_empty() => {
                let (role, recipient) = (socket.role.clone(), text.recipient.clone());
                self.ledger
                    .wrote(conn, role, recipient, &text.payload, false);
            }
            _ => {}
        }
        piece.write(&mut socket.up, mask);
        let end = socket.up.len();
        socket.pieces.push_back((end, piece));
    }

    /// A payload that nobody else sends: sender, number, filler.
    pub(crate) fn payload(&mut self, conn: ConnId) -> String {
        let bytes = match self.random.u32(0..20) {
            0 => self.random.usize(1000..4000),
            1 => self.random.usize(300..1000),
            // As old builds of the C SDK cannot hold; counted.
            2 if !self.plan.strict && self.random.u32(0..8) == 0 => {
                self.random.usize(7_000..24_000)
            }
            _ => self.random.usize(0..100),
        };
        self.payload_of(conn, bytes)
    }

    pub(crate) fn payload_of(&mut self, conn: ConnId, bytes: usize) -> String {
        let plain = format!(
            "{conn}/{}/{}",
            self.sockets[conn].up.len(),
            "x".repeat(bytes)
        );
        let mut text = Vec::new();
        codec::base64::encode(&mut text, plain.as_bytes());
        String::from_utf8(text).expect("base64 is ASCII")
    }

    pub(crate) fn write_messages(&mut self, many: std::ops::Range<usize>) {
        let many = match many.len() {
            1 => 1,
            _ => self.random.usize(many),
        };
        let Some(conn) = self.writer(|socket| socket.role != Role::Caller) else {
            return;
        };
        for _ in 0..many {
            let text = self.text(conn);
            self.write(conn, Piece::Message(text));
        }
    }

    pub(crate) fn text(&mut self, conn: ConnId) -> Text {
        let master = matches!(self.sockets[conn].role, Role::Master(_));
        let offers = self.settings.options.master_offers;
        let action = match self.random.u32(0..10) {
            0 | 1 if master && !offers => signal::Action::SdpAnswer,
            0 | 1 => signal::Action::SdpOffer,
            2 | 3 => signal::Action::SdpAnswer,
            _ => signal::Action::IceCandidate,
        };
        let shape = match self.random.u32(0..8) {
            0 => Shape::Spaced,
            1 => Shape::Fragments,
            _ => Shape::Plain,
        };
        let mut payload = self.payload(conn);
        if !self.settings.strict() && self.random.u32(0..6) == 0 {
            payload = payload.replace('+', "-").replace('/', "_");
        }
        let names_somebody = master || self.random.u32(0..5) == 0;
        Text {
            action: Some(action),
            payload,
            recipient: names_somebody.then(|| self.viewer_id()),
            correlation: (self.random.u32(0..3) == 0).then(|| format!("c-{conn}")),
            shape,
            fault: None,
        }
    }

    pub(crate) fn write_bad_message(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role != Role::Caller) else {
            return;
        };
        let mut text = self.text(conn);
        let master = matches!(self.sockets[conn].role, Role::Master(_));
        let offers = self.settings.options.master_offers;
        text.fault = match self.random.u32(0..9) {
            0 => {
                text.action = None;
                Some(Unaccepted::UnknownAction)
            }
            1 => {
                text.payload = String::new();
                Some(Unaccepted::NoPayload)
            }
            2 => {
                text.payload.push('!');
                Some(Unaccepted::NotBase64)
            }
            3 => {
                text.payload = "A".repeat(self.settings.limits.payload_bytes + 1);
                Some(Unaccepted::TooLong)
            }
            kind @ (4 | 5) => {
                text.recipient = (kind == 5).then(|| NO_NAME.to_owned());
                master.then_some(Unaccepted::UnknownRecipient)
            }
            6 => {
                text.correlation = Some(NO_NAME.to_owned());
                Some(Unaccepted::Malformed)
            }
            7 => {
                text.action = Some(signal::Action::SdpOffer);
                (master && !offers).then_some(Unaccepted::MasterOffer)
            }
            _ => {
                let shapes = [Shape::Twice, Shape::WrongType, Shape::Broken];
                text.shape = shapes[self.random.usize(0..3)];
                Some(match text.shape {
                    Shape::Broken => Unaccepted::NotJson,
                    _ => Unaccepted::Malformed,
                })
            }
        };
        let most = self.settings.limits.payload_bytes;
        if text.payload.len() > most || text.payload.is_empty() {
            let piece = Piece::Message(text);
            return self.write_unbooked(conn, piece);
        }
        self.write(conn, Piece::Message(text));
    }

    /// As `write`, for what no client can ever get.
    pub(crate) fn write_unbooked(&mut self, conn: ConnId, piece: Piece) {
        let socket = &mut self.sockets[conn];
        piece.write(&mut socket.up, [1, 2, 3, 4]);
        socket.pieces.push_back((socket.up.len(), piece));
    }

    pub(crate) fn write_ping(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role != Role::Caller) else {
            return;
        };
        let many: u8 = match self.random.u32(0..60) {
            0 => 255, // a flood
            1..=6 => 20,
            _ => 1,
        };
        for number in 0..many {
            let piece = match self.random.u32(0..6) {
                0 => Piece::Pong(Vec::new()),
                1 => Piece::Empty,
                _ => Piece::Ping(vec![number; usize::from(number % 100)]),
            };
            self.write(conn, piece);
        }
    }

    pub(crate) fn write_violation(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role != Role::Caller) else {
            return;
        };
        let kinds = [
            (1002, codec::ws::FrameError::Unmasked.reason()),
            (1003, "Binary messages are not supported."),
            (1007, codec::ws::FrameError::TextNotUtf8.reason()),
            (1009, "message is too big"),
        ];
        let (code, reason) = kinds[self.random.usize(0..kinds.len())];
        self.hit("fault: frame violation");
        self.write(conn, Piece::Bad(code, reason));
    }

    pub(crate) fn write_close(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role != Role::Caller) else {
            return;
        };
        let code = [0, 1000, 1001, 4000][self.random.usize(0..4)];
        self.write(conn, Piece::Close(code));
    }

    pub(crate) fn write_call(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role == Role::Caller) else {
            return;
        };
        let call = match self.random.u32(0..22) {
            0..=3 => {
                let (name, ttl) = (self.own_name(), [5, 60, 120][self.random.usize(0..3)]);
                let tags = if self.random.bool() {
                    self.tags()
                } else {
                    Vec::new()
                };
                Call::Create(name, ttl, tags)
            }
            4 => Call::DescribeName(self.own_name()),
            5 => Call::DescribeArn(self.arn()),
            6 | 7 => {
                let arn = self.arn();
                let version = (self.random.u32(0..3) == 0).then(|| self.version(&arn));
                Call::Delete(arn, version)
            }
            21 => Call::List(
                ["", "channel", "channel1", "x"][self.random.usize(0..4)].to_owned(),
                self.random.usize(1..4),
            ),
            8 => Call::Endpoint(self.arn()),
            9 => Call::Ice(self.arn()),
            10 => Call::Broken,
            11 => Call::Missing,
            12 if self.random.bool() => return self.write(conn, Piece::Foreign),
            12 => return self.write(conn, Piece::Lost),
            other => self.change_call(other),
        };
        self.write(conn, Piece::Body(call));
    }

    /// The version that the client has seen last of a channel, or another.
    fn version(&mut self, arn: &str) -> String {
        let record = self.records.visible(name_of(arn));
        let version = record.map(|record| record.put.version.clone());
        version
            .filter(|_| self.random.u32(0..4) > 0)
            .unwrap_or_else(|| "wrong".to_owned())
    }

    /// Calls about what a channel has beside its connections.
    fn change_call(&mut self, kind: u32) -> Call {
        let arn = self.arn();
        match kind {
            13 | 14 => {
                let version = self.version(&arn);
                Call::Update(arn, version, self.random.u32(5..=120))
            }
            15 | 16 => Call::Tag(arn, self.tags()),
            17 => {
                let tags = self.tags();
                Call::Untag(arn, tags.into_iter().map(|(key, _)| key).collect())
            }
            18 => Call::Tags(arn),
            19 => match self.random.u32(0..3) {
                0 => Call::Storage(self.own_name(), true),
                1 => Call::Storage(arn, false),
                _ => Call::UpdateStorage(arn, self.random.bool()),
            },
            _ if self.random.u32(0..4) == 0 => Call::Mapped,
            _ => Call::Join(arn, self.random.bool()),
        }
    }

    /// Some tags of a hundred: few, or this many that they may be too many.
    fn tags(&mut self) -> Vec<(String, String)> {
        let first = self.random.u32(0..60);
        let many = [1, 3, 40][self.random.usize(0..3)];
        let tag = |key| (format!("k{key}"), format!("v{}", self.random.u32(0..100)));
        (first..first + many).map(tag).collect()
    }

    /// More callers at once that change a channel than may wait for each other. Some of them in one moment.
    pub(crate) fn write_crowd(&mut self) {
        let (arn, in_one_moment) = (self.arn(), self.random.bool());
        for _ in 0..19 {
            let Some(conn) = self.new_connection(Role::Caller) else {
                return;
            };
            let call = Call::Tag(arn.clone(), self.tags());
            self.write(conn, Piece::Body(call));
            if in_one_moment && self.sockets[conn].secured {
                self.feed(conn, usize::MAX);
            }
        }
    }

    pub(crate) fn write_alexa(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role == Role::Caller) else {
            return;
        };
        let (arn, sender) = (self.arn(), self.alexa_id());
        let payload = match self.random.u32(0..20) {
            0 => self.payload_of(conn, 8_000), // too long
            _ => self.payload(conn),
        };
        self.write_offer(conn, arn, sender, payload);
    }

    pub(crate) fn write_offer(
        &mut self,
        conn: ConnId,
        arn: String,
        sender: String,
        payload: String,
    ) {
        let role = Role::Viewer(arn.clone(), sender.clone());
        self.ledger.wrote(conn, role, None, &payload, true);
        let offer = Offer {
            arn,
            sender,
            payload,
        };
        self.write(conn, Piece::Body(Call::Alexa(offer)));
    }

    /// More Alexa calls at once than may wait in some worlds: most on one channel, some on others.
    pub(crate) fn write_rush(&mut self) {
        let arn = self.arn();
        for number in 0..7 {
            let Some(conn) = self.new_connection(Role::Caller) else {
                return;
            };
            let arn = if number < 5 { arn.clone() } else { self.arn() };
            let payload = self.payload(conn);
            self.write_offer(conn, arn, format!("rush-{number}"), payload);
        }
    }

    /// A client that reads nothing has more answered than may wait for it.
    pub(crate) fn write_hoard(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role == Role::Caller) else {
            return;
        };
        self.sockets[conn].stuck = true;
        self.hit("fault: requests of a client that does not read");
        for _ in 0..self.random.usize(100..400) {
            self.write(conn, Piece::Lost);
        }
    }

    /// More requests behind a waiting call than a connection may have.
    pub(crate) fn write_pile(&mut self) {
        let Some(conn) = self.writer(|socket| socket.role == Role::Caller) else {
            return;
        };
        if self.random.u32(0..4) == 0 {
            for _ in 0..70 {
                self.write(conn, Piece::Lost); // more refusals than the log tells of
            }
            if self.random.bool() {
                self.write(conn, Piece::Foreign);
            }
            return;
        }
        for _ in 0..8 {
            let (arn, sender) = (self.arn(), self.alexa_id());
            let payload = self.payload_of(conn, 4500);
            self.write_offer(conn, arn, sender, payload);
        }
    }

    pub(crate) fn write_alexa_answer(&mut self) {
        let Some(conn) = self.writer(|socket| matches!(socket.role, Role::Master(_))) else {
            return;
        };
        let mut text = self.text(conn);
        text.action = Some(if self.random.u32(0..4) == 0 {
            signal::Action::IceCandidate
        } else {
            signal::Action::SdpAnswer
        });
        text.recipient = Some(self.alexa_id());
        self.write(conn, Piece::Message(text));
    }
}
