//! The connection to another node, with its send queue. Also sends queries over separate connections.

use crate::limits::{
    ASKED_BYTES_MAX, NOTE_EVERY, PEER_CONNECT, PEER_HELLO, PEER_PAUSE, PEER_PAUSE_MAX,
    QUEUE_BYTES_MAX, QUEUE_MAX,
};
use crate::names::Name;
use crate::peers::PeerMail;
use crate::tcp::frames::{self, Hello, garbage};
use crate::tcp::shared::{self, NodeShared, within};
use rustls::pki_types::ServerName;
use std::cell::{Cell, Ref, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_rustls::client::TlsStream;
use tracing::{info, warn};

/// The send queue for another node. The connection is opened for the first message, and closed when the queue is
/// dropped.
pub(crate) struct Outgoing {
    way: Rc<Way>,
    queue: Option<mpsc::Sender<Queued>>,
    room: Arc<Semaphore>,
    task: Option<JoinHandle<()>>,
}

/// The addresses of a node, shared with the task of its connection.
struct Way {
    addresses: RefCell<Vec<SocketAddr>>,
    used: Cell<Option<SocketAddr>>,
}

/// A queued message, with permits for its bytes from the queue's own budget and from the budget of all queues.
struct Queued {
    message: Vec<u8>,
    _charge: [OwnedSemaphorePermit; 2],
}

impl Outgoing {
    pub(crate) fn start(shared: Rc<NodeShared>, to: Name, at: &[SocketAddr]) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let way = Rc::new(Way {
            addresses: RefCell::new(at.to_vec()),
            used: Cell::new(None),
        });
        let line = Line {
            shared,
            to,
            way: Rc::clone(&way),
            failures: 0,
            noted: None,
        };
        Self {
            way,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            task: Some(tokio::task::spawn_local(line.run(waiting))),
        }
    }

    pub(crate) fn addresses(&self) -> Ref<'_, Vec<SocketAddr>> {
        self.way.addresses.borrow()
    }

    /// Sets the node's addresses. Returns `false` if a connection is open but leads to none of these addresses.
    pub(crate) fn may_be_at(&self, at: &[SocketAddr]) -> bool {
        *self.way.addresses.borrow_mut() = at.to_vec();
        self.way.used.get().is_none_or(|used| at.contains(&used))
    }

    /// Queues a message. Returns `false` if this queue is full, or if all queues together have reached their limit.
    pub(crate) fn put(&self, message: Vec<u8>, all: &Arc<Semaphore>) -> bool {
        let bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let charge = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(bytes).ok();
        let (Some(own), Some(shared)) = (charge(&self.room), charge(all)) else {
            return false;
        };
        let queued = Queued {
            message,
            _charge: [own, shared],
        };
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send(queued).is_ok())
    }

    /// Closes the connection once all queued messages have been sent or lost.
    pub(crate) fn finish(mut self) -> impl Future<Output = ()> {
        self.queue = None;
        async move {
            if let Some(task) = &mut self.task {
                let _ = task.await;
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

struct Line {
    shared: Rc<NodeShared>,
    to: Name,
    way: Rc<Way>,
    /// Number of consecutive connection attempts that ended before any message could be sent.
    failures: u32,
    /// The most recent log line about this node, and when it was logged.
    noted: Option<(String, Instant)>,
}

impl Line {
    async fn run(mut self, mut waiting: mpsc::Receiver<Queued>) {
        while let Some(first) = waiting.recv().await {
            match self.connect().await {
                Ok(stream) => match self.send(stream, first, &mut waiting).await {
                    Ok(()) => return,
                    Err(error) => self.failed(&error),
                },
                Err(error) => {
                    let to = self.to.clone();
                    let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
                    let mail = if is_refused {
                        PeerMail::Refused(to)
                    } else {
                        PeerMail::Unreached(to)
                    };
                    self.shared.mailbox.put(mail);
                    self.lose(1);
                    self.failed(&error);
                }
            }
            // Messages queued for a failed connection are stale by the time the next one opens.
            while waiting.try_recv().is_ok() {
                self.lose(1);
            }
            self.failures += 1;
            if !waiting.is_closed() {
                let pause = PEER_PAUSE.saturating_mul(1 << self.failures.min(8));
                sleep(pause.min(PEER_PAUSE_MAX)).await;
            }
        }
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let address = self.next_address();
        self.way.used.set(address);
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let hello = Hello {
            from: self.shared.node.clone(),
            to: self.to.clone(),
            only_asks: false,
        };
        connect(&self.shared, address, &hello).await
    }

    /// Returns the next address to try. Each failure moves on to the next address.
    fn next_address(&self) -> Option<SocketAddr> {
        let addresses = self.way.addresses.borrow();
        let nth = usize::try_from(self.failures).unwrap_or_default();
        addresses.get(nth.checked_rem(addresses.len())?).copied()
    }

    fn place(&self) -> String {
        let to = &self.to;
        let used = self.way.used.get();
        used.map_or_else(|| to.to_string(), |at| format!("{to} at {at}"))
    }

    /// Sends messages until the queue is closed.
    ///
    /// # Errors
    /// Returns the reason why the connection ended early.
    async fn send(
        &mut self,
        stream: TlsStream<TcpStream>,
        first: Queued,
        waiting: &mut mpsc::Receiver<Queued>,
    ) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut next = Some(first);
        loop {
            if let Some(queued) = next.take() {
                if let Err(error) = frames::write(&mut writer, &queued.message).await {
                    self.lose(1);
                    return Err(error);
                }
                let sent = &self.shared.notes.counts.sent;
                sent.fetch_add(1, Ordering::Relaxed);
                self.works();
            }
            // The other side never sends data on this connection, so the stream becomes readable only when the
            // connection ends.
            tokio::select! {
                queued = waiting.recv() => match queued {
                    Some(queued) => next = Some(queued),
                    None => return writer.shutdown().await,
                },
                read = reader.read_u8() => {
                    return Err(read.err().unwrap_or_else(|| garbage("the peer sent unexpected bytes")));
                }
            }
        }
    }

    fn lose(&self, messages: u64) {
        let counts = &self.shared.notes.counts;
        counts.lost.fetch_add(messages, Ordering::Relaxed);
    }

    fn works(&mut self) {
        self.failures = 0;
        if self.noted.take().is_some() {
            info!("{}: messages can be sent again", self.place());
        }
    }

    /// Logs a failure once. Logs it again if the reason changes or the failure persists.
    fn failed(&mut self, error: &io::Error) {
        let is_other = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .is_some_and(link::is_of_another_cluster);
        let why = if is_other {
            shared::Refusal::OtherCluster.to_string()
        } else if error.kind() == io::ErrorKind::ConnectionRefused {
            "connection refused: its process does not run, or has another address".into()
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            "the peer closed the connection".into()
        } else {
            error.to_string()
        };
        let is_known = self.noted.as_ref().is_some_and(|(known, at)| {
            *known == why && at.elapsed() < NOTE_EVERY.saturating_mul(REPEATED)
        });
        if !is_known {
            warn!("{}: messages cannot be sent: {why}", self.place());
            self.noted = Some((why, Instant::now()));
        }
    }
}

/// Connects to an address, and verifies that the peer is the intended node.
pub(crate) async fn connect(
    shared: &NodeShared,
    address: SocketAddr,
    hello: &Hello,
) -> io::Result<TlsStream<TcpStream>> {
    let connecting = TcpStream::connect(address);
    let stream = within(PEER_CONNECT, "connect timed out", connecting).await?;
    stream.set_nodelay(true)?;
    // Few bytes are in flight. Retransmitting at equal intervals, without back-off, lets an answer arrive in time even
    // on a bad network. A lost host acknowledges nothing, so the kernel closes the connection.
    let options = socket2::SockRef::from(&stream);
    options.set_tcp_thin_linear_timeouts(true)?;
    options.set_tcp_user_timeout(Some(crate::limits::PEER_UNCONFIRMED))?;
    let greeting = async {
        let name = ServerName::try_from(SERVER).map_err(io::Error::other)?;
        let mut stream = shared.connector.connect(name, stream).await?;
        hello.write(&mut stream).await?;
        let answer = Hello::read(&mut stream).await?;
        if answer.from != hello.to {
            let found = answer.from;
            return Err(io::Error::other(format!(
                "the node {found} answers at this address: the roster of the cluster has the address twice"
            )));
        }
        if answer.to != shared.node {
            return Err(garbage("the peer's hello is for another node"));
        }
        Ok(stream)
    };
    within(PEER_HELLO, "no hello within the time limit", greeting).await
}

/// Server name required by the TLS library. It has no effect, since SNI is disabled and nodes issue no session tickets
/// to each other for these connections.
const SERVER: &str = "node";

/// Number of [`NOTE_EVERY`] intervals after which a persistent failure is logged again.
const REPEATED: u32 = 6;

const _: () = assert!(PEER_PAUSE.as_millis() < Duration::from_secs(1).as_millis());

// A query and its reply, over a separate connection.

/// Queries a node at the first of its addresses that responds, and puts the reply into the mailbox.
pub(crate) async fn ask(shared: Rc<NodeShared>, of: Name, at: Vec<SocketAddr>, message: Vec<u8>) {
    let hello = Hello {
        from: shared.node.clone(),
        to: of.clone(),
        only_asks: true,
    };
    for address in at {
        let asking = async {
            let mut stream = connect(&shared, address, &hello).await?;
            frames::write(&mut stream, &message).await?;
            within(PEER_HELLO, "no reply in time", read(&mut stream)).await
        };
        // The send queue already logs unreachable nodes.
        let replied: io::Result<Vec<u8>> = asking.await;
        if let Ok(reply) = replied {
            shared.mailbox.put(PeerMail::Message(of, reply));
            return;
        }
    }
}

/// Passes another node's query on to the driver, and sends back the reply.
pub(crate) async fn reply(
    shared: &NodeShared,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    from: &Name,
) -> io::Result<()> {
    let message = read(stream).await?;
    let (reply, replied) = oneshot::channel();
    shared
        .mailbox
        .put(PeerMail::Asked(from.clone(), message, reply));
    let reply = replied.await.map_err(|_| garbage("no reply to send"))?;
    frames::write(stream, &reply).await?;
    stream.shutdown().await
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = frames::read_length(stream).await?;
    let length = length.filter(|length| *length <= ASKED_BYTES_MAX);
    let length = length.ok_or_else(|| garbage("the message is absent or too long"))?;
    frames::read_message(stream, length).await
}
