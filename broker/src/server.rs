//! The server process: startup, what it prints while it runs, and shutdown.
//!
//! ```text
//!  limits, probe ──► ports ──► data directory ──► threads and rings ──► mailboxes ──► certificate, credentials ──┐
//!                                                            ┌───────────────────────────────────────────────────┘
//!                                                            └─► registry ──► side thread ──► shards ──► `ready …`
//!  first SIGTERM or SIGINT: Drain to every shard ──► all drained ──► Stop ──► all ended ──► store closed ──► exit 0
//!  second one: exit 1 at once        a shard that ends by itself: exit 1        SIGHUP, files changed: read again
//! ```
//! Under `--dev`, a SIGHUP stops the server if its terminal is gone (`side::Hangup`). Ports are bound before the data
//! directory is opened, so a second server with the same configuration already fails to bind its port. Rings are
//! created before anything that depends on the number of shards, since the locked-memory limit may reduce that number
//! (`shards.rs`). Nothing but the `ready` line is written to stdout.
//!
//! `check` validates the configuration, and `preflight` reports other obstacles to starting the server. `listeners`
//! with `kept_sockets`, `mailboxes`, `shards`, `records` with `disk_registry`, and `admin` prepare the server's parts.
//! `ready` and `supervisor` report that the server is ready. `watch` then runs the main thread. It uses `reload` for
//! files that may change, and `cluster` for membership in a cluster.

mod admin;
mod check;
pub(crate) mod cluster;
mod disk_registry;
mod kept_sockets;
mod listeners;
mod mailboxes;
pub(crate) mod preflight;
mod random;
pub(crate) mod ready;
mod records;
mod reload;
mod shards;
mod supervisor;
mod watch;

use crate::config::ServeFlags;
use crate::data_dir::{self, DataDir, OtherUsers};
use crate::devices::{self, DeviceAuthority, Devices, NameSource};
use crate::failure::{Failure, Fallible};
use crate::server::cluster::node::{self, Node};
use crate::server::reload::{accounts, hooks, token};
use crate::side::{self, AdminPage, Captures, Hangup, Log, Pairing, SideCommand, StatusBoard};
use crate::{edge::EdgeSettings, hooks::Hooks, providers::Fetcher};
use crate::{memory, session_key, version};
use admin::{AdminSecrets, open_lan};
use broker_core::settings::{Listen, Scheme, Settings};
use broker_core::{auth::SessionKeys, placement::Placement, shard::AccountUse};
pub use check::{CheckedConfiguration, check, check_start};
use cluster::ClusterMembership;
use crossbeam_channel::{Sender, unbounded};
use kept_sockets::KeptSockets;
use listeners::Bound;
use mailboxes::mailboxes;
use random::seeds;
use records::Records;
use reload::Reloader;
use reload::accounts::AccountsFile;
use reload::certificate::{Certificate, InitialCertificate};
use reload::configuration::ConfigurationFile;
use reload::credentials::{CredentialsFile, InitialCredentials, fetcher};
use shards::ShardParts;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use supervisor::Supervisor;
use watch::{Follower, Rounds, Watch};

/// Runs the server until it has received a signal and has drained.
///
/// [`crate::side::block_signals`] must be called on this thread first.
///
/// # Errors
/// Fails if the server could not start or did not shut down cleanly.
pub fn run(checked: &CheckedConfiguration, flags: &ServeFlags, log: &Log) -> Fallible<()> {
    let mut settings = checked.settings.clone();
    let connections = connections(&settings, side::raise_open_files())?;
    let (cluster, memlock) = (ClusterMembership::find(&settings)?, ring::raise_memlock());
    shards::choose_engine(&mut settings)?;
    let mut supervisor = Supervisor::of_environment();
    let (bound, admin_listeners) = bind(&mut settings, &supervisor)?;
    let data_dir = data_dir(&mut settings)?;
    let mut edge = edge_settings(&settings, connections);
    let threads = shards::prepare(&mut settings, &mut edge.ring, memlock)?;

    let (mailboxes, settings) = (mailboxes(settings.shards)?, Arc::new(settings));
    let (status, mut reloader) = board(&settings);
    let tickets = cluster.as_ref().map(|it| it.ticket_keys.clone());
    let tls = Certificate::find(&settings, &data_dir, &mailboxes, tickets)?;
    let who = CredentialsFile::find(&settings, &mailboxes)?;
    let keys = session_keys(&data_dir, cluster.as_ref())?;
    let placement = placement(settings.shards, cluster.as_ref())?;
    let around = (&data_dir, &mailboxes, &status);
    let (mut registry, epoch) = Records::open(&settings, cluster.as_ref(), &placement, around)?;
    let ((commands, told), (events, happened)) = (unbounded(), unbounded());
    let secrets = AdminSecrets::new(token::find(&settings, &mut reloader)?, &keys);
    let mut shows = admin::shows(&settings, &placement, &mailboxes, &registry, log, secrets)?;
    let (mut hooks, teller) = hooks::prepare(&status, (epoch, placement.map()), &mut shows)?;
    let (fetcher, in_force) = fetcher(&settings, who.as_ref(), &mailboxes, &mut shows);
    admin::prepare_try_page(&mut shows, in_force, &keys, log)?;
    let accounts = accounts::prepare(&settings, &mut shows)?;
    let (history, (admin, pairing)) = (shows.history.clone(), open_lan(&settings, &mut shows));
    let page = admin_listeners.map(|listeners| AdminPage { listeners, shows });
    let captures = start_side(page, (&mut hooks, fetcher), (&settings, &status), commands)?;

    let shards = ShardParts {
        settings: &settings,
        placement,
        mailboxes: &mailboxes,
        tls: tls.as_ref().map(|found| Arc::clone(&found.config)),
        devices: devices(who.as_ref(), &settings, &data_dir)?,
        credentials: who.as_ref().map(|found| Arc::clone(&found.credentials)),
        session_keys: keys,
        registry: &mut registry,
        edge,
        events,
        log,
        captures,
        account_use: account_use(&settings),
        links: cluster.map(|cluster| cluster.links),
        admin,
        readiness: status.readiness(),
        audience: (hooks.hooks.clone(), teller),
        epoch,
    };
    kept_sockets::store(&mut supervisor, &settings, &bound);
    let shards = shards.start(threads, bound)?;
    announce(&settings, checked, who.as_ref(), connections, &data_dir);
    let ca = tls.as_ref().and_then(|found| found.ca.clone());
    ConfigurationFile::start(flags, checked, &status, &hooks, &mailboxes, &mut reloader);
    let hooks = watch_files(&mut reloader, tls, who, hooks, accounts, registry.node());
    Watch {
        shards,
        rounds: Rounds::new(Arc::clone(&mailboxes), history, Instant::now()),
        mailboxes,
        // Clients are served before the ready line is written, since its reader may immediately send a request.
        follower: Follower::new(registry.node(), &status),
        told,
        happened,
        hooks,
        reloader,
        status,
        supervisor: tell_all(supervisor, &settings, ca.as_deref(), pairing.as_ref())?,
        drain_ms: settings.timeouts.drain_ms,
    }
    .until_the_end()?;
    registry.close();
    Ok(())
}

fn board(settings: &Arc<Settings>) -> (StatusBoard, Reloader) {
    let status = StatusBoard::of(settings);
    let reloader = Reloader::new(status.reloads().clone());
    (status, reloader)
}

/// Spawns the side thread. Returns the receiver of captured messages if capturing is enabled.
fn start_side(
    page: Option<AdminPage>,
    (hooks, fetcher): (&mut hooks::Started, Option<Fetcher>),
    (settings, status): (&Settings, &StatusBoard),
    commands: Sender<SideCommand>,
) -> Fallible<Option<Captures>> {
    let hangup = Hangup::of_process(settings.dev);
    let captures = page.as_ref().and_then(|page| page.shows.captures());
    let tasks = (hooks.courier.take(), fetcher);
    side::start(page, tasks, status.clone(), commands, hangup)
        .map_err(|error| Failure::fatal("the side thread cannot be started", &error))?;
    Ok(captures)
}

/// Returns the devices from the credentials file. If the server does not require signatures, returns the devices of the
/// development authority instead.
fn devices(
    who: Option<&InitialCredentials>,
    settings: &Settings,
    data_dir: &DataDir,
) -> Fallible<Option<Arc<Devices>>> {
    if let Some(found) = who {
        return Ok(found.devices.clone());
    }
    if !settings.dev || settings.port(Scheme::Https).is_none() {
        return Ok(None);
    }
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Fatal(format!(
            "the authority of test devices cannot be used: {error}"
        ))
    };
    let certificate = devices::development(data_dir.path(), SystemTime::now());
    let certificate = certificate.map_err(|error| failed(&error))?;
    let authority = DeviceAuthority::new(&certificate, &Arc::default(), NameSource::CommonName, 0);
    Ok(Some(Arc::new(Devices {
        hosts: vec![devices::DEV_HOST.into()],
        authorities: vec![authority.map_err(|error| failed(&error))?],
    })))
}

/// Tells stdout and the service manager that the server is ready, and shows a pairing code for a phone.
fn tell_all(
    supervisor: Supervisor,
    settings: &Settings,
    ca: Option<&Path>,
    pairing: Option<&Pairing>,
) -> Fallible<Supervisor> {
    ready::tell(settings, ca)?;
    supervisor.ready();
    admin::invite_phone(settings, pairing);
    Ok(supervisor)
}

/// Watches the files that may change, except for the token file. Returns the handle to the hook courier.
fn watch_files(
    reloader: &mut Reloader,
    tls: Option<InitialCertificate>,
    who: Option<InitialCredentials>,
    hooks: hooks::Started,
    accounts: Option<AccountsFile>,
    node: Option<&Node>,
) -> Option<Hooks> {
    if let (Some(node), Some(who)) = (node, &who) {
        let _ = node.in_force.set(who.file.in_force()); // set only here
    }
    let to_courier = hooks.hooks.clone();
    tls.into_iter()
        .for_each(|found| reloader.watch(Box::new(found.certificate), found.read));
    who.into_iter()
        .for_each(|found| reloader.watch(Box::new(found.file), found.read));
    hooks.watch(reloader);
    accounts.into_iter().for_each(|file| file.watch(reloader));
    node.into_iter().for_each(|node| node.files.watch(reloader));
    to_courier
}

/// Opens the data directory and, in a container, creates the admin token in it. Updates the directory's path in the
/// settings, since a temporary directory may not be the configured one.
fn data_dir(settings: &mut Settings) -> Fallible<DataDir> {
    let data_dir = if settings.data_dir_ends {
        DataDir::temporary(&settings.data_dir, &data_dir::places_on_disk())?
    } else {
        let reach = if settings.dev {
            OtherUsers::Known
        } else {
            OtherUsers::Nothing
        };
        DataDir::open(&settings.data_dir, reach)?
    };
    settings.data_dir = data_dir.path().into();
    admin::make_token(settings)?;
    Ok(data_dir)
}

/// Creates the usage counters of the server's account, shared by all shards. Returns `None` without `--dev`.
fn account_use(settings: &Settings) -> Option<Arc<AccountUse>> {
    let of_settings = || AccountUse::new(&settings.region, &settings.account_id);
    settings.dev.then(|| Arc::new(of_settings()))
}

/// Logs how much memory the server may use, the effective limits, and warnings about exposure. Called once everything
/// is running.
fn announce(
    settings: &Settings,
    checked: &CheckedConfiguration,
    who: Option<&InitialCredentials>,
    connections: usize,
    data_dir: &DataDir,
) {
    let credentials = who.map(|found| &*found.credentials);
    tracing::info!("memory: {}", memory::sum(settings, credentials));
    for term in memory::terms(settings, credentials) {
        tracing::debug!("memory: {term}");
    }
    version::log_build(settings.config.as_deref(), &checked.sha256);
    let listen: Vec<_> = settings.listen.iter().map(ToString::to_string).collect();
    let limits = &settings.limits;
    tracing::info!(
        shards = settings.shards,
        connections,
        data_dir = %data_dir.path().display(),
        listen = listen.join(" "),
        admin = settings.admin.listen.map(|addr| addr.to_string()),
        viewers_per_channel = limits.viewers_per_channel,
        payload_bytes = limits.payload_bytes,
        message_bytes = limits.message_bytes,
        "serving"
    );
    if let Some(warning) = settings.unadvertised() {
        tracing::warn!("{warning}");
    }
    if let Some(exposure) = settings.exposure() {
        tracing::warn!("{exposure} No signature is checked.");
    }
    let domain = settings.advertise.domain.as_ref().filter(|_| settings.dev);
    // Names below localhost always resolve to loopback (RFC 6761, section 6.3).
    if let Some(domain) = domain.filter(|domain| !domain.ends_with(".localhost")) {
        tracing::warn!(
            "discovery names m-, v- and r-<8 hex>.{domain}: *.{domain} must resolve to this machine"
        );
    }
}

fn edge_settings(settings: &Settings, connections: usize) -> EdgeSettings {
    EdgeSettings {
        connections,
        handshakes: settings.limits.handshakes_per_shard,
        handshakes_per_address: settings.limits.handshakes_per_address,
        // The bytes received in one event loop iteration stay in outboxes until its end, however fast peers read. An
        // eighth of the outboxes' capacity is reserved for them.
        turn_bytes: (settings.outbox_bytes_of_shard() as u64 / 8).clamp(64 << 10, 8 << 20),
        turn_cpu: std::env::var_os(TURN_CPU).is_some(),
        tcp_user_ms: settings.timeouts.tcp_user_ms,
        ..EdgeSettings::for_shards(settings.shards)
    }
}

/// Returns the keys that seal temporary credentials. All nodes of a cluster share them. The key file is created even in
/// a cluster, since backups need it, and so does a node that leaves its cluster.
fn session_keys(dir: &DataDir, cluster: Option<&ClusterMembership>) -> Fallible<Arc<SessionKeys>> {
    let own = session_key::open(dir.path())?;
    let shared = cluster.map(|cluster| Arc::clone(&cluster.session_keys));
    Ok(shared.unwrap_or_else(|| Arc::new(own)))
}

fn placement(shards: usize, cluster: Option<&ClusterMembership>) -> Fallible<Placement> {
    let shards = u16::try_from(shards).map_err(|_| Failure::Fatal("too many shards".into()))?;
    let placement = Placement::new(seeds()?, shards);
    Ok(match cluster {
        Some(cluster) => placement.in_cluster(Arc::clone(&cluster.map)),
        None => placement,
    })
}

/// Returns the maximum number of client connections: the configured number, or fewer if the open-files limit is too
/// low.
fn connections(settings: &Settings, open_files: usize) -> Fallible<usize> {
    let has_twin = |listen: &&Listen| listeners::has_twin(settings, listen.addr);
    let twins = settings.listen.iter().filter(has_twin).count();
    let listeners = settings.listen.len() + twins + usize::from(settings.cluster.is_on());
    let follows = usize::from(settings.cluster.etcd.is_on());
    let ours = side::admin_descriptors(open_files, settings.lan.is_some())
        + DESCRIPTORS
        + follows * node::DESCRIPTORS
        + settings.shards * (DESCRIPTORS_PER_SHARD + listeners);
    let least = ours + CONNECTIONS_MIN;
    if open_files < least {
        return Err(Failure::Fatal(format!(
            "the limit of open files is {open_files}, and {} shards need {least} at least: raise it (`ulimit -n`, \
             LimitNOFILE= in the unit, or --ulimit nofile= of the container)",
            settings.shards
        )));
    }
    // A twentieth of the descriptors stays free: a multishot accept may drain a whole backlog before the connections
    // are counted.
    let connections = settings
        .limits
        .connections
        .min((open_files - ours) / 20 * 19);
    if open_files < DESCRIPTORS_USUAL {
        tracing::warn!(
            "the limit of open files is {open_files}, which allows {connections} client connections: raise it to \
             {DESCRIPTORS_USUAL} or more (`ulimit -Hn`, LimitNOFILE= in the unit, or --ulimit nofile= of the container)"
        );
    }
    Ok(connections)
}

fn bind(
    settings: &mut Settings,
    supervisor: &Supervisor,
) -> Fallible<(Vec<Bound>, Option<Vec<TcpListener>>)> {
    let mut kept = KeptSockets::find(supervisor::passed(), supervisor, settings);
    let mut all = Vec::with_capacity(settings.listen.len() + 1);
    for place in 0..settings.listen.len() {
        let bound = listeners::bind(settings, settings.listen[place].addr, &mut kept)?;
        let listen = &mut settings.listen[place];
        if let Some(on) = settings
            .proxy
            .protocol_on
            .iter_mut()
            .find(|on| *on == listen)
        {
            on.addr = bound.addr;
        }
        listen.addr = bound.addr;
        all.push(bound);
    }
    // Inner listeners must be last, because discovery refers to the clients' listeners by index.
    let (shards, tcp_user_ms) = (settings.shards, settings.timeouts.tcp_user_ms);
    all.extend(listeners::bind_inner(
        &mut settings.cluster,
        shards,
        tcp_user_ms,
    )?);
    let Some(addr) = settings.admin.listen else {
        return Ok((all, None));
    };
    let (addr, admin) = listeners::bind_admin(settings, addr)?;
    settings.admin.listen = Some(addr);
    Ok((all, Some(admin)))
}

/// Environment variable that makes shards measure their loop iterations in CPU time. For machines that also do other
/// work.
const TURN_CPU: &str = "HELIOGRAPH_TURN_CPU";

/// Descriptors that the process uses for purposes other than connections: standard streams, lock, store and runtime.
/// The admin listener's descriptors are counted separately, so that operators can connect even if clients have used up
/// all of theirs.
const DESCRIPTORS: usize = 32;
/// Descriptors per shard: its ring, the three rings and two eventfds of its executor, the two eventfds of its mailbox,
/// and one spare.
const DESCRIPTORS_PER_SHARD: usize = 16;
/// Open-files limit below which a warning is logged. Linux distributions default to at least this limit.
const DESCRIPTORS_USUAL: usize = 1024;
/// Minimum number of connections that the open-files limit must allow. Below that, the broker does not start.
const CONNECTIONS_MIN: usize = 32;
