//! Masters and viewers that relay a candidate every few milliseconds, and how long each takes.

use crate::Failure;
use crate::server::Server;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket, client};

/// Connected pairs, used in turn.
pub(crate) struct Pairs(Vec<[WebSocket<TcpStream>; 2]>);

/// The spread of messages' latencies, in microseconds from send to receipt.
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: u128,
    pub(crate) p99: u128,
    pub(crate) max: u128,
}

impl Pairs {
    /// [`PAIRS`] of them, each on a channel of its own.
    pub(crate) fn connect(server: &Server) -> Result<Self, Failure> {
        let connect = |number: usize, client_id| -> Result<WebSocket<TcpStream>, Failure> {
            let arn = format!(
                "arn:aws:kinesisvideo:us-west-2:123456789012:channel/pair-{number}/1700000000000"
            );
            let stream = TcpStream::connect(&server.host)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(WITHIN))?;
            let connected = client::client(server.url(&arn, client_id), stream);
            Ok(connected.map_err(|error| error.to_string())?.0)
        };
        let pair = |number| Ok([connect(number, None)?, connect(number, Some("v"))?]);
        let pairs: Result<_, Failure> = (0..PAIRS).map(pair).collect();
        Ok(Self(pairs?))
    }

    /// Relays while `work` is done; its result, how long the messages took, and the pairs.
    pub(crate) fn relay<T>(
        mut self,
        work: impl FnOnce() -> T,
    ) -> Result<((T, Spread), Self), Failure> {
        let over = AtomicBool::new(false);
        let (done, times) = thread::scope(|scope| {
            let relaying = scope.spawn(|| self.relay_until(&over));
            let done = work();
            over.store(true, Ordering::Relaxed);
            (done, relaying.join())
        });
        let times = times.map_err(|_| "the pairs' thread ended")?;
        let spread = Spread::of(times?)?;
        Ok(((done, spread), self))
    }

    fn relay_until(&mut self, over: &AtomicBool) -> Result<Vec<u128>, String> {
        let text = r#"{"action":"ICE_CANDIDATE","messagePayload":"Y2FuZGlkYXRl"}"#;
        let mut times = Vec::new();
        for turn in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let Some([master, viewer]) = self.0.get_mut(turn % PAIRS) else {
                break;
            };
            let sent = Instant::now();
            let failed = |error: tungstenite::Error| error.to_string();
            viewer.send(Message::text(text)).map_err(failed)?;
            while !master.read().map_err(failed)?.is_text() {}
            times.push(sent.elapsed().as_micros());
            thread::sleep(EVERY.saturating_sub(sent.elapsed()));
        }
        Ok(times)
    }
}

impl Spread {
    fn of(mut times: Vec<u128>) -> Result<Self, Failure> {
        times.sort_unstable();
        let at = |share: usize| {
            let place = times.len().saturating_sub(1) * share / 100;
            times.get(place).copied().ok_or("no message was relayed")
        };
        Ok(Self {
            count: times.len(),
            p50: at(50)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }
}

const PAIRS: usize = 20;
const EVERY: Duration = Duration::from_millis(4);
const WITHIN: Duration = Duration::from_secs(10);
