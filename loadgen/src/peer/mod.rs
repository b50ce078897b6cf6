//! Simulated clients without I/O: bytes in, bytes out, and a judgement of everything that arrives.
//!
//! A [`Peer`] is one client: its [`Link`] speaks HTTP and WebSocket, its [`Master`] or [`Viewer`] exchanges messages.
//! Every message carries a [`Stamp`]; each recipient keeps a [`Sequence`] per sender; the [`Desk`] of the thread counts.
//!
//! Relaying is a closed loop: each peer begins with a window of messages towards each counterpart, and answers every
//! message that arrives for the first time by one. So a master and a viewer have two windows under way between them,
//! one from each side, for as long as nothing is lost. The checker shares no code with any broker's routing.

mod desk;
mod link;
mod master;
mod name;
mod sequence;
mod stamp;
mod viewer;

pub use desk::{Desk, Terms};
pub use link::{Event, Link, LinkError};
pub use master::Master;
pub use name::{Name, Naming};
pub use sequence::{Arrival, Sequence};
pub use stamp::{PAYLOAD_BYTES_MAX, STAMP_BYTES, Stamp, filler};
pub use viewer::Viewer;

/// One simulated client. Lives for the whole run, over any number of connections.
#[derive(Debug)]
pub struct Peer {
    name: Name,
    link: Link,
    part: Part,
}

/// What a peer is in its channel.
#[derive(Debug)]
pub enum Part {
    /// The device.
    Master(Master),
    /// Who watches.
    Viewer(Viewer),
}

/// What a call of [`Peer::receive`] brought about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The upgrade was accepted.
    pub opened: bool,
    /// The closing handshake is over, begun by us.
    pub closed: bool,
    /// The service closed of its own accord.
    pub closed_by_service: bool,
}

impl Peer {
    /// A peer of a channel with so many viewers.
    #[must_use]
    pub fn new(name: Name, viewers: u32) -> Self {
        let part = if name.place == 0 {
            Part::Master(Master::new(viewers))
        } else {
            Part::Viewer(Viewer::default())
        };
        Self {
            name,
            link: Link::ended(),
            part,
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn name(&self) -> Name {
        self.name
    }

    /// Whether its connection is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Begins a connection: appends the upgrade request.
    pub fn connect(&mut self, host: &str, naming: &Naming, desk: &mut Desk, out: &mut Vec<u8>) {
        let target = naming.target(self.name);
        self.link = Link::open(host, &target, &mut desk.random, out);
    }

    /// Begins to exchange messages: appends a window of them for each counterpart.
    pub fn start(&mut self, desk: &mut Desk, out: &mut Vec<u8>) {
        match &mut self.part {
            Part::Master(master) => master.start(self.name, desk, out),
            Part::Viewer(viewer) => viewer.start(self.name, desk, out),
        }
    }

    /// Takes in all of `bytes`; appends what is to be sent because of them.
    ///
    /// # Errors
    /// The connection is of no more use, see [`LinkError`].
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        desk: &mut Desk,
        out: &mut Vec<u8>,
    ) -> Result<Progress, LinkError> {
        let mut progress = Progress::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, event) = self.link.next(rest, &mut desk.random, out)?;
            match event {
                None => {}
                Some(Event::Opened) => progress.opened = true,
                Some(Event::Closed) => progress.closed = true,
                Some(Event::ClosedByService(_)) => progress.closed_by_service = true,
                Some(Event::Message(text)) => match &mut self.part {
                    Part::Master(master) => master.hear(self.name, text, desk, out),
                    Part::Viewer(viewer) => viewer.hear(self.name, text, desk, out),
                },
            }
            rest = &mut rest[used..];
        }
        Ok(progress)
    }

    /// Begins the closing handshake.
    pub fn close(&mut self, desk: &mut Desk, out: &mut Vec<u8>) {
        self.link.close(&mut desk.random, out);
    }
}

/// How many messages between these peers of one channel, its master first, did not arrive intact where they belong.
#[must_use]
pub fn missing(channel: &[Peer]) -> u64 {
    let mut parts = channel.iter().map(|peer| &peer.part);
    let Some(Part::Master(master)) = parts.next() else {
        return 0;
    };
    let nothing = Sequence::default();
    let between = (1..).zip(parts).map(|(place, part)| match part {
        Part::Viewer(viewer) => {
            let (to_master, from_master) = viewer.exchange();
            let (to_viewer, from_viewer) = master.exchange(place).unwrap_or((0, &nothing));
            from_viewer.missing(to_master) + from_master.missing(to_viewer)
        }
        Part::Master(_) => 0,
    });
    between.sum()
}
