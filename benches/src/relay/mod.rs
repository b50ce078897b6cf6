//! Rivals of the broker as programs: relays that do the same work on a message (frame, UTF-8, JSON, checks, look-up of
//! the recipient, event, frame), and floors, which do none of it.
//!
//! The binary `rival` serves one of them; `benches/relay.rs` drives all of them with `loadgen`, beside the broker.
//!
//! * `axum`: axum with tokio-tungstenite. Best: a current-thread runtime, read buffers of 8 KiB, one flush for all that
//!   waits. It answers API calls as well.
//! * `fastwebsockets`: fastwebsockets on tokio. Best: a current-thread runtime, a task for each half, one write for all
//!   that waits.
//! * `tungstenite`: a thread per connection. Best: each thread writes to its recipient's socket; small stacks.
//! * `floor-uring`: the floor on the ring of the broker's edge. Multishot accept and receive, a send per recipient and
//!   turn.
//! * `floor-epoll`: the floor on epoll. One receive a wake, a send per recipient and round.
//!
//! All have `TCP_NODELAY`, no compression, mimalloc and the profile of the broker. All take the checks of a message
//! from [`crate::rival::judge`]. What none of them has: signatures, quotas, deadlines, limits of memory, metrics, logs,
//! messages kept for absent peers.

mod axum_ws;
mod directory;
mod fast;
mod floor;
mod place;
mod signed;
mod threads;
mod tls;
mod work;

use crate::relay::floor::{epoll, uring};
use clap::ValueEnum;
pub use place::Place;
pub use signed::{KEY_ID, SECRET};
use std::io;
use std::net::TcpListener;
pub use tls::Identity;

/// A relay that the binary `rival` can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// The floor on io_uring.
    FloorUring,
    /// The floor on epoll.
    FloorEpoll,
    /// fastwebsockets on tokio.
    Fastwebsockets,
    /// axum with tokio-tungstenite.
    Axum,
    /// tungstenite, a thread per connection.
    Tungstenite,
}

impl Rival {
    /// Its name on the command line and in records.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it speaks TLS: the one that was the best without.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Fastwebsockets)
    }

    /// Serves a listener until the process ends, over TLS 1.3 if asked to.
    ///
    /// # Errors
    /// The listener failed, what the relay needs of the kernel is refused, or it has no TLS.
    pub fn serve(self, listener: TcpListener, is_tls: bool) -> io::Result<()> {
        match self {
            Self::Fastwebsockets if is_tls => fast::serve(listener, Some(tls::acceptor()?)),
            _ if is_tls => Err(io::Error::other("it has no TLS")),
            Self::Axum => axum_ws::serve(listener),
            Self::Fastwebsockets => fast::serve(listener, None),
            Self::Tungstenite => threads::serve(&listener),
            Self::FloorUring => uring::serve(&listener),
            Self::FloorEpoll => epoll::serve(&listener),
        }
    }
}
