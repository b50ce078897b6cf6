//! Starts shards of some machine on listeners, and stops them. Used by the example and by the edge's tests.

use broker::edge::{
    Descriptors, EdgeSettings, Listener, Post, Scraped, ShardConfig, ShardEvent, ShardHandle,
};
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use crossbeam_channel::Receiver;
use mailbox::Mailbox;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The address of a listener, and whether it speaks TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// The address; port 0 picks one.
    pub(crate) addr: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
}

/// Running shards. They stop with [`Server::stop`], or with the process.
pub(crate) struct Server<M: Machine> {
    /// The actual addresses, in the order of what was asked.
    pub(crate) addrs: Vec<SocketAddr>,
    /// Events that the shards report.
    pub(crate) events: Receiver<ShardEvent>,
    /// Client descriptors open.
    pub(crate) descriptors: Arc<Descriptors>,
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    shards: Vec<ShardHandle>,
}

impl<M: Machine + 'static> Server<M> {
    /// Starts `shards` shards that all listen on all of `listens`, each with a machine that `make` makes. `mailbox` is
    /// the capacity and the reserve of each.
    pub(crate) fn start(
        listens: &[Listen],
        shards: u16,
        tls: Option<Arc<ServerConfig>>,
        settings: EdgeSettings,
        mailbox: (usize, usize),
        make: impl Fn(ShardId) -> M + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let mailboxes: io::Result<Vec<_>> = (0..shards)
            .map(|_| Mailbox::new(mailbox.0, mailbox.1))
            .collect();
        let mailboxes: Arc<[Mailbox<Post<M>>]> = mailboxes?.into();
        let descriptors = Arc::new(Descriptors::default());
        let (report, events) = crossbeam_channel::bounded(2 * usize::from(shards));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut addrs, mut handles) = (Vec::new(), Vec::new());
        for listen in listens {
            // The first socket picks the port; it is closed again when the shards have theirs.
            let first = socket(listen.addr)?;
            let addr = first
                .local_addr()?
                .as_socket()
                .ok_or(io::ErrorKind::Unsupported)?;
            addrs.push((addr, first));
        }
        for id in 0..shards {
            let listeners: io::Result<Vec<_>> = addrs
                .iter()
                .zip(listens)
                .zip(0..)
                .map(|(((addr, _), listen), number)| {
                    Ok(Listener {
                        socket: listener(*addr)?,
                        number,
                        tls: listen.tls,
                        proxies: Vec::new(),
                        inner: false,
                    })
                })
                .collect();
            let cpu = (shards > 1).then_some(usize::from(id) % cpus);
            let thread = broker::edge::prepare(ShardId(id), cpu, &settings.ring)?;
            let config = ShardConfig {
                listeners: listeners?,
                mailboxes: Arc::clone(&mailboxes),
                tls: tls.clone(),
                devices: None,
                links: None,
                admin: None,
                settings,
                descriptors: Arc::clone(&descriptors),
                events: report.clone(),
            };
            let make = make.clone();
            handles.push(thread.start(config, move || make(ShardId(id)))?);
        }
        let addrs = addrs.into_iter().map(|(addr, _)| addr).collect();
        Ok(Self {
            addrs,
            events,
            descriptors,
            mailboxes,
            shards: handles,
        })
    }

    /// Every shard's counters.
    pub(crate) fn scrape(&self) -> Vec<Scraped<M::Snapshot>> {
        let ask = |mailbox: &Mailbox<Post<M>>| {
            let (answer, scraped) = crossbeam_channel::bounded(1);
            mailbox
                .post_always(Post::Scrape(answer))
                .ok()
                .expect("there is a reserve for it");
            scraped
                .recv_timeout(Duration::from_secs(5))
                .expect("an answer between two turns")
        };
        self.mailboxes.iter().map(ask).collect()
    }

    /// Sends every shard's machine a letter.
    pub(crate) fn post(&self, letter: impl Fn() -> M::Letter) {
        for mailbox in self.mailboxes.iter() {
            let posted = mailbox.post_always(Post::Letter(letter()));
            posted.ok().expect("there is a reserve for it");
        }
    }

    /// Sends a letter to the machines of those shards that take mail at the moment.
    pub(crate) fn post_where_room(&self, letter: impl Fn() -> M::Letter) {
        for mailbox in self.mailboxes.iter() {
            let _ = mailbox.post(Post::Letter(letter()));
        }
    }

    /// Ends the shards and waits for them.
    pub(crate) fn stop(self) -> io::Result<()> {
        for mailbox in self.mailboxes.iter() {
            mailbox
                .post_always(Post::Stop)
                .ok()
                .expect("there is a reserve for it");
        }
        self.shards.into_iter().try_for_each(ShardHandle::join)
    }
}

fn listener(addr: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let socket = socket(addr)?;
    SockRef::from(&socket).listen(4096)?;
    Ok(socket.into())
}

/// Blocking, shared with the other shards, and with the options that accepted connections inherit.
fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
