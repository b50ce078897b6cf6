//! The house: what is started in which order, what is said when it runs, and how it ends.
//!
//! ```text
//!  descriptors, ring ──► ports ──► data directory ──► mailboxes ──► certificate ──► side thread ──► shards ──► `ready …`
//!                                                                                      │
//!  first SIGTERM or SIGINT: Drain to every shard ──► all drained ──► Stop ──► all ended ──► exit 0
//!  second one: exit 1 at once        a shard that ends by itself: exit 1        SIGHUP, files changed: read again
//! ```
//! Ports come before the data directory, so that a second server with the same configuration is told of its port first.
//! Nothing is written to stdout but the `ready` line.

mod certificate;
mod data_dir;
mod failure;
mod listeners;
mod pulse;
mod ready;
mod reload;
mod session_key;
mod supervisor;
mod watch;

pub use failure::Failure;

use crate::auth::{Nonces, SessionKeys};
use crate::config::{Scheme, Settings};
use crate::edge::{
    self, Descriptors, EdgeSettings, Listener, Post, ShardConfig, ShardEvent, ShardHandle,
};
use crate::id::ShardId;
use crate::limits::{mailbox_capacity, mailbox_reserve};
use crate::placement::Placement;
use crate::shard::{Shard, Start};
use crate::side::{self, AdminPage, Inspector, Log, Report, Scraper, Shows, Status, StatusBoard};
use crate::tls_files::NotAfter;
use certificate::{Certificate, Found};
use crossbeam_channel::{Sender, unbounded};
use data_dir::DataDir;
use listeners::Bound;
use mailbox::Mailbox;
use reload::Reloader;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::Supervisor;
use watch::{Rounds, Watch};
use zeroize::Zeroizing;

/// Runs the server until it is told to end and has drained.
///
/// [`crate::side::block_signals`] must have been called on this thread.
///
/// # Errors
/// Why it did not start, or did not end well.
pub fn run(mut settings: Settings, log: &Log) -> Result<(), Failure> {
    let connections = connections(&settings)?;
    ring::probe().map_err(|obstacle| Failure::Fatal(obstacle.to_string()))?;
    let (bound, admin_listener) = bind(&mut settings)?;
    let data_dir = DataDir::open(&settings.data_dir)?;
    let session_keys = Arc::new(session_key::open(data_dir.path())?);
    let token = admin_token(&settings)?;

    let settings = Arc::new(settings);
    let mailboxes = mailboxes(settings.shards)?;
    let not_after = NotAfter::default();
    let found = Certificate::find(&settings, &data_dir, &mailboxes, &not_after)?;
    let status = StatusBoard::default();
    let (commands, told) = unbounded();
    let (events, happened) = unbounded();
    let page = admin_listener.map(|listener| AdminPage {
        listener,
        shows: shows(&settings, &mailboxes, log.clone(), not_after, token),
    });
    side::start(page, status.clone(), commands)
        .map_err(|error| fatal("the side thread cannot be started", &error))?;

    let edge = EdgeSettings {
        connections,
        handshakes: settings.limits.handshakes_per_shard,
        handshakes_per_address: settings.limits.handshakes_per_address,
        ..EdgeSettings::default()
    };
    let start = ShardStart {
        settings: &settings,
        mailboxes: &mailboxes,
        tls: found.as_ref().map(|found| Arc::clone(&found.config)),
        edge,
        events,
        session_keys,
        log,
    };
    let shards = start.spawn_all(bound)?;
    status.set(Status::Ok);
    tracing::info!(shards = settings.shards, connections, data_dir = %data_dir.path().display(), "serving");
    let ca = found.as_ref().and_then(|found| found.ca.as_deref());
    ready::tell(&settings, ca);
    let supervisor = Supervisor::of_environment();
    supervisor.ready();

    let mut reloader = Reloader::default();
    if let Some(Found {
        certificate, read, ..
    }) = found
    {
        reloader.watch(Box::new(certificate), read);
    }
    let drain_ms = settings.timeouts.drain_ms;
    Watch {
        shards,
        mailboxes,
        status,
        told,
        happened,
        reloader,
        supervisor,
        rounds: Rounds::new(settings.shards, Instant::now()),
        drain_ms,
    }
    .until_the_end()
}

/// What the admin listener asks, and whom.
fn shows(
    settings: &Arc<Settings>,
    mailboxes: &Arc<[Mailbox<Post<Shard>>]>,
    log: Log,
    not_after: NotAfter,
    token: Option<String>,
) -> Shows {
    let mut scraper = Scraper::new(Arc::clone(mailboxes));
    let scrape = Box::new(move || {
        let report = scraper.scrape(SCRAPE_MAX);
        if report.is_none() {
            tracing::warn!(shards = ?scraper.silent(), "no answer to a scrape");
        }
        report.map(|report| Report {
            log_dropped: log.dropped(),
            tls_not_after: not_after.seconds(),
            ..report
        })
    });
    let mut inspector = Inspector::new(Arc::clone(mailboxes));
    let inspect = Box::new(move |question: &_| inspector.ask(question, SCRAPE_MAX));
    Shows {
        scrape,
        inspect,
        settings: Arc::clone(settings),
        token,
    }
}

/// How many client connections the process takes: as configured, or as the descriptors allow.
fn connections(settings: &Settings) -> Result<usize, Failure> {
    let open_files = side::raise_descriptors()
        .map_err(|error| fatal("the limit of open files cannot be read", &error))?;
    let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
    let ours = DESCRIPTORS + settings.shards * (DESCRIPTORS_PER_SHARD + settings.listen.len());
    let least = ours + CONNECTIONS_MIN;
    if open_files < least {
        return Err(Failure::Fatal(format!(
            "the limit of open files is {open_files}, and {} shards need {least} at least: raise it (`ulimit -n`, \
             LimitNOFILE= in the unit, or --ulimit nofile= of the container)",
            settings.shards
        )));
    }
    // A twentieth stays free: a multishot accept takes a whole backlog before anybody can count.
    Ok(settings
        .limits
        .connections
        .min((open_files - ours) / 20 * 19))
}

/// Binds all listeners and writes their actual addresses into the settings.
fn bind(settings: &mut Settings) -> Result<(Vec<Bound>, Option<std::net::TcpListener>), Failure> {
    let mut all = Vec::with_capacity(settings.listen.len());
    for listen in &mut settings.listen {
        let bound = listeners::bind(listen, settings.shards, settings.timeouts.tcp_user_ms)?;
        listen.addr = bound.addr;
        all.push(bound);
    }
    let Some(addr) = &mut settings.admin.listen else {
        return Ok((all, None));
    };
    let admin = listeners::bind_admin(*addr)?;
    *addr = admin
        .local_addr()
        .map_err(|error| fatal("the admin listener has no address", &error))?;
    Ok((all, Some(admin)))
}

/// The token that admin requests need: on loopback none.
fn admin_token(settings: &Settings) -> Result<Option<String>, Failure> {
    let off_loopback = settings
        .admin
        .listen
        .is_some_and(|addr| !addr.ip().is_loopback());
    let Some(path) = settings.admin.token_file.as_ref().filter(|_| off_loopback) else {
        return Ok(None);
    };
    let name = path.display();
    let content = std::fs::read_to_string(path).map_err(|error| {
        Failure::Configuration(format!(
            "admin.token_file = {name}: allowed a file that can be read: {error}"
        ))
    })?;
    let token = content.trim();
    if token.len() < TOKEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!(
            "admin.token_file = {name}: allowed one line of at least {TOKEN_MIN} printable ASCII characters"
        );
        return Err(Failure::Configuration(text));
    }
    Ok(Some(token.to_owned()))
}

fn mailboxes(shards: usize) -> Result<Arc<[Mailbox<Post<Shard>>]>, Failure> {
    let one = |_| Mailbox::new(mailbox_capacity(shards), mailbox_reserve(shards));
    let all: io::Result<Vec<_>> = (0..shards).map(one).collect();
    Ok(all
        .map_err(|error| fatal("a mailbox cannot be made", &error))?
        .into())
}

/// What all shards are started with.
struct ShardStart<'s> {
    settings: &'s Arc<Settings>,
    mailboxes: &'s Arc<[Mailbox<Post<Shard>>]>,
    tls: Option<Arc<rustls::ServerConfig>>,
    edge: EdgeSettings,
    events: Sender<ShardEvent>,
    session_keys: Arc<SessionKeys>,
    log: &'s Log,
}

impl ShardStart<'_> {
    fn spawn_all(self, bound: Vec<Bound>) -> Result<Vec<ShardHandle>, Failure> {
        let shards = u16::try_from(self.settings.shards)
            .map_err(|_| Failure::Fatal("too many shards".into()))?;
        let placement = Placement::new(seeds()?, shards);
        let descriptors = Arc::new(Descriptors::default());
        let mut sockets: Vec<_> = bound
            .into_iter()
            .map(|bound| bound.sockets.into_iter())
            .collect();
        let mut handles = Vec::with_capacity(self.settings.shards);
        for id in (0..shards).map(ShardId) {
            let schemes = self
                .settings
                .listen
                .iter()
                .map(|listen| listen.scheme == Scheme::Https);
            let own = sockets.iter_mut().zip(schemes);
            let listeners = own
                .filter_map(|(sockets, tls)| {
                    Some(Listener {
                        socket: sockets.next()?,
                        tls,
                    })
                })
                .collect();
            let config = ShardConfig {
                id,
                cpu: self.settings.cpu(id.index()),
                listeners,
                mailboxes: Arc::clone(self.mailboxes),
                tls: self.tls.clone(),
                settings: self.edge,
                descriptors: Arc::clone(&descriptors),
                events: self.events.clone(),
            };
            let settings = Arc::clone(self.settings);
            let start = Start {
                session_keys: Arc::clone(&self.session_keys),
                nonces: nonces(id)?,
                journal: self.log.journal(),
                ..Start::bare(settings, id, placement.clone(), seeds()?)
            };
            // Made on its own thread, whose memory it then is.
            let make = move || Shard::new(start);
            let handle = edge::spawn(config, make);
            handles
                .push(handle.map_err(|error| {
                    fatal(&format!("shard {} cannot be started", id.0), &error)
                })?);
        }
        Ok(handles)
    }
}

/// Nonces that this life of the process has for itself.
fn nonces(id: ShardId) -> Result<Nonces, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    edge::entropy::fill(&mut *seed).map_err(|error| fatal("no seed for nonces", &error))?;
    Ok(Nonces::new(&seed, id.0))
}

fn post_to_all(mailboxes: &[Mailbox<Post<Shard>>], letter: impl Fn() -> Post<Shard>) {
    for (shard, mailbox) in mailboxes.iter().enumerate() {
        if mailbox.post_always(letter()).is_err() {
            tracing::error!(shard, "the mailbox is full");
        }
    }
}

fn seeds() -> Result<[u64; 4], Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::Fatal("the system gives no random bytes".into()))?;
    let mut seeds = [0; 4];
    for (seed, bytes) in seeds.iter_mut().zip(bytes.chunks_exact(8)) {
        *seed = bytes
            .iter()
            .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    }
    Ok(seeds)
}

fn fatal(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Fatal(format!("{what}: {error}"))
}

/// How long `/metrics` and the inspector wait for the shards.
const SCRAPE_MAX: Duration = Duration::from_secs(1);

/// Descriptors that the process needs beside connections: its streams, lock, admin listener, its clients, the runtime.
const DESCRIPTORS: usize = 48;
/// And each shard: its ring, three rings and two eventfds of its executor, two eventfds of its mailbox, one in reserve.
const DESCRIPTORS_PER_SHARD: usize = 16;
/// Fewer connections than this are not worth starting for.
const CONNECTIONS_MIN: usize = 32;

/// Shortest admin token.
const TOKEN_MIN: usize = 16;
