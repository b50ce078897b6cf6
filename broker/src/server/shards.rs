//! The shards: their threads, rings and data, and how they are started.

use crate::edge::{
    self, Descriptors, EdgeSettings, Links, Listener, ShardConfig, ShardEvent, ShardHandle,
    ShardThread, TakeAdmin,
};
use crate::failure::{Failure, Fallible};
use crate::server::mailboxes::Mailboxes;
use crate::server::random::{random, seeds};
use crate::server::{listeners::Bound, records::Records};
use crate::side::{Captures, Log, Teller};
use crate::{devices::Devices, hooks::Hooks};
use broker_core::auth::{Authenticator, Credentials, Nonces, SessionKeys};
use broker_core::limits::{signing_keys_per_shard, wake_polls_per_shard};
use broker_core::settings::{EngineChoice, Scheme, Settings};
use broker_core::shard::{AccountUse, Shard, Start, StartDev, StartKeys};
use broker_core::{id::ShardId, placement::Placement, readiness::Readiness};
use crossbeam_channel::Sender;
use ring::{Engine, MEMLOCK_BYTES_MIN, Unsupported};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread, vec};
use zeroize::Zeroizing;

pub(crate) struct ShardParts<'s> {
    pub(crate) settings: &'s Arc<Settings>,
    pub(crate) placement: Placement,
    pub(crate) mailboxes: &'s Mailboxes,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) devices: Option<Arc<Devices>>,
    /// Principals that may sign requests. `None` if requests need not be signed.
    pub(crate) credentials: Option<Arc<Credentials>>,
    pub(crate) session_keys: Arc<SessionKeys>,
    pub(crate) registry: &'s mut Records,
    pub(crate) edge: EdgeSettings,
    pub(crate) events: Sender<ShardEvent>,
    pub(crate) log: &'s Log,
    pub(crate) captures: Option<Captures>,
    /// Usage of the server's account, summed over all shards. Set only with `--dev`.
    pub(crate) account_use: Option<Arc<AccountUse>>,
    pub(crate) links: Option<Arc<Links>>,
    /// Takes over connections that request admin pages. Set only with `--lan`.
    pub(crate) admin: Option<TakeAdmin>,
    pub(crate) readiness: Readiness,
    /// Receivers of channel states: the courier, if any hooks are configured, and the event streams of the admin
    /// listener.
    pub(crate) audience: (Option<Hooks>, Teller),
    pub(crate) epoch: u64,
}

impl ShardParts<'_> {
    /// Starts a shard on each of `threads`. Returns once all shards accept connections. Fails with [`Failure::Fatal`]
    /// if a shard cannot be started.
    pub(crate) fn start(
        mut self,
        threads: Vec<ShardThread<Shard>>,
        bound: Vec<Bound>,
    ) -> Fallible<Vec<ShardHandle>> {
        let descriptors = Arc::new(Descriptors::default());
        let nonce_seed = Zeroizing::new(random()?);
        let mut sockets: Vec<_> = bound
            .into_iter()
            .map(|bound| [bound.sockets.into_iter(), bound.twins.into_iter()])
            .collect();
        if self.registry.node().is_none() {
            // This must precede the start of the shards, since clients may already be waiting in the kernel's backlog.
            self.readiness.set_serves(true);
        }
        let mut handles = Vec::with_capacity(self.settings.shards);
        for (id, thread) in (0..self.placement.shards()).map(ShardId).zip(threads) {
            let listeners = self.listeners(&mut sockets);
            let config = ShardConfig {
                listeners,
                mailboxes: Arc::clone(self.mailboxes),
                tls: self.tls.clone(),
                devices: self.devices.clone(),
                links: self.links.clone(),
                admin: self.admin.clone(),
                settings: self.edge,
                descriptors: Arc::clone(&descriptors),
                events: self.events.clone(),
            };
            let start = self.machine(id, &nonce_seed)?;
            // Created on the shard's own thread, so that its memory is local to that thread.
            let handle = thread.start(config, move || Shard::new(start));
            handles.push(handle.map_err(|error| {
                Failure::fatal(&format!("shard {} cannot be started", id.0), &error)
            })?);
        }
        Ok(handles)
    }

    fn listeners(&self, sockets: &mut [[vec::IntoIter<OwnedFd>; 2]]) -> Vec<Listener> {
        let configured = self.settings.listen.iter();
        let schemes = configured.map(|listen| Some(listen.scheme));
        // In a cluster, the inner listener is last.
        let own = sockets.iter_mut().zip(schemes.chain([None]));
        own.zip(0..)
            .flat_map(|((sockets, scheme), number)| {
                sockets
                    .iter_mut()
                    .filter_map(Iterator::next)
                    .map(move |socket| Listener {
                        socket,
                        number,
                        proxies: if scheme.is_some() && self.settings.awaits_proxy(number) {
                            self.settings.proxy.protocol_from.clone()
                        } else {
                            Vec::new()
                        },
                        tls: scheme == Some(Scheme::Https),
                        inner: scheme.is_none(),
                    })
            })
            .collect()
    }

    fn machine(&mut self, id: ShardId, nonce_seed: &[u8; 32]) -> Fallible<Start> {
        let (store, records, slot_orders) = self.registry.of(id);
        let authenticator = self.credentials.as_ref().map(|credentials| {
            Authenticator::new(
                self.settings.signature_rules(),
                Arc::clone(credentials),
                Arc::clone(&self.session_keys),
            )
            .keeping(signing_keys_per_shard(self.settings.shards))
        });
        Ok(Start {
            settings: Arc::clone(self.settings),
            id,
            placement: self.placement.clone(),
            seeds: seeds()?,
            records,
            newest: self.registry.newest(),
            catalog: self.registry.catalog(),
            store,
            journal: self.log.journal(),
            keys: StartKeys {
                authenticator,
                session_keys: Arc::clone(&self.session_keys),
                nonces: Nonces::new(nonce_seed, id.0),
            },
            connections: self.edge.connections.div_ceil(self.settings.shards),
            waiting_calls: self.settings.waiting_calls_of_shard(),
            wake_polls: wake_polls_per_shard(usize::from(self.placement.shards())),
            dev: StartDev {
                copies: self.captures.as_ref().map(Captures::of_shard),
                account_use: self.account_use.clone(),
            },
            slot_orders,
            readiness: self.readiness.clone(),
            audience: {
                let (hooks, teller) = &self.audience;
                teller.of_shard(hooks.as_ref().map(Hooks::of_shard))
            },
            epoch: self.epoch,
        })
    }
}

// The shards' threads and rings. All use the same I/O engine and are created before any client is served.
//
// The kernel determines how much memory a ring locks, and the user's other processes count against the same limit. The
// only way to find out whether a ring fits is to create it, so all rings are created before the first shard starts. If
// a ring does not fit, all shards are created again on epoll, which locks no memory. If the settings require io_uring,
// there is no such fallback. Under `--dev`, the shards that do not fit are then left out; otherwise, startup fails, and
// the error states how many would fit.

/// Selects epoll if the machine does not permit io_uring and the settings allow epoll. If io_uring is required but not
/// available, fails with [`Failure::Fatal`], which states a remedy.
pub(crate) fn choose_engine(settings: &mut Settings) -> Fallible<()> {
    if settings.engine == EngineChoice::Epoll {
        return Ok(());
    }
    match (probe(), settings.engine) {
        (Ok(()), _) => Ok(()),
        (Err(why), EngineChoice::Auto) => {
            fall_back(settings, &why);
            Ok(())
        }
        (Err(why), EngineChoice::IoUring | EngineChoice::Epoll) => Err(Failure::Fatal(why)),
    }
}

fn fall_back(settings: &mut Settings, why: &str) {
    tracing::warn!(
        "shards use epoll, where {EPOLL_COST}, since io_uring is not available: {why}. Set `engine = \"epoll\"` \
         (--engine epoll) to silence this warning"
    );
    settings.engine = EngineChoice::Epoll;
}

/// Creates each shard's thread. If the settings permit both engines, selects an available one and writes it to `ring`
/// and `settings`. If not all shards fit on io_uring and the settings permit fewer, creates as many as fit, logs their
/// number, and writes it to `settings`. `limit` is the locked-memory limit in bytes, or `None` if there is no limit. If
/// a thread cannot be created, fails with [`Failure::Fatal`], which states a remedy.
pub(crate) fn prepare(
    settings: &mut Settings,
    ring: &mut ring::RingSettings,
    limit: Option<u64>,
) -> Fallible<Vec<ShardThread<Shard>>> {
    if settings.engine != EngineChoice::Epoll {
        ring.engine = Engine::IoUring;
        match on_io_uring(settings, ring, limit)? {
            Ok(threads) => {
                settings.engine = EngineChoice::IoUring;
                return Ok(threads);
            }
            Err(why) => fall_back(settings, &why),
        }
    }
    ring.engine = Engine::Epoll;
    let wanted = settings.shards;
    match as_many_as_fit(wanted, |index| shard_thread(settings, ring, index)) {
        (threads, None) => Ok(threads),
        (threads, Some(error)) => Err(other(threads.len(), wanted, &error)),
    }
}

/// Creates the threads, each with its own io_uring. The inner error is the reason for falling back to epoll.
fn on_io_uring(
    settings: &mut Settings,
    ring: &ring::RingSettings,
    limit: Option<u64>,
) -> Fallible<Result<Vec<ShardThread<Shard>>, String>> {
    if !settings.cpus.is_empty() && !edge::can_pin() {
        tracing::warn!(
            "shards are not pinned to CPUs: /sys/devices/system cannot be read; mount sysfs at /sys"
        );
        settings.cpus.clear();
    }
    let wanted = settings.shards;
    let (threads, refused) = if limit.is_none_or(|_| is_room_for_a_try()) {
        as_many_as_fit(wanted, |index| shard_thread(settings, ring, index))
    } else {
        (Vec::new(), Some(io::Error::from_raw_os_error(libc::ENOMEM)))
    };
    let Some(error) = refused else {
        return Ok(Ok(threads));
    };
    let limit = match limit {
        Some(limit) if is_short_of_locked_memory(&error) => limit,
        Some(_) | None => return Err(other(threads.len(), wanted, &error)),
    };
    let (fit, is_asked_for) = (threads.len(), settings.engine == EngineChoice::IoUring);
    if fit > 0 && settings.fewer_shards && is_asked_for {
        tracing::warn!(
            "{fit} of {wanted} shards are started: the limit of locked memory, {}, has no room for more: raise it: \
             {}",
            mib(limit),
            ring::memlock_remedy(limit.saturating_mul(wanted as u64).div_ceil(fit as u64))
        );
        settings.shards = fit;
        return Ok(Ok(threads));
    }
    let why = Need::learn(threads, limit).refusal(wanted, limit);
    if is_asked_for {
        Err(Failure::Fatal(why))
    } else {
        Ok(Err(why))
    }
}

fn shard_thread(
    settings: &Settings,
    ring: &ring::RingSettings,
    index: usize,
) -> io::Result<ShardThread<Shard>> {
    let id = u16::try_from(index).map_err(|_| io::Error::other("too many shards"))?;
    edge::prepare(ShardId(id), settings.cpu(index), ring)
}

/// Checks whether this machine permits io_uring. If not, the error states why, and what to do.
pub(crate) fn probe() -> Result<(), String> {
    let probed = patiently(ring::probe, |probed| {
        matches!(probed, Err(Unsupported::MemlockTaken(_)))
    });
    probed.map_err(|obstacle| obstacle.to_string())
}

/// Returns whether enough lockable memory is left for the small ring that the runtime creates to probe the kernel. With
/// too little memory, the runtime would panic and blame the kernel.
fn is_room_for_a_try() -> bool {
    let wanted = TRY_BYTES_MIN.max(TRY_PAGES * rustix::param::page_size());
    let has_room = || ring::lockable_bytes(wanted).is_ok_and(|left| left >= wanted);
    patiently(has_room, |has_room| !has_room)
}

/// Creates up to `wanted` items. Also returns the error of the first one that could not be created.
fn as_many_as_fit<T>(
    wanted: usize,
    make: impl Fn(usize) -> io::Result<T>,
) -> (Vec<T>, Option<io::Error>) {
    let mut made = Vec::with_capacity(wanted);
    for index in 0..wanted {
        match patiently(|| make(index), |made| made.as_ref().is_err_and(passes)) {
            Ok(one) => made.push(one),
            Err(error) => return (made, Some(error)),
        }
    }
    (made, None)
}

/// Repeats an attempt for a short time, as long as `passes` returns `true` for its result. After a process or thread
/// has exited, the kernel takes some milliseconds to release its resources. The runtime also needs some extra resources
/// for a moment while it starts.
fn patiently<T>(attempt: impl Fn() -> T, passes: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + RELEASE_MAX;
    loop {
        let result = attempt();
        if !passes(&result) || Instant::now() >= until {
            return result;
        }
        thread::sleep(RELEASE_STEP);
    }
}

/// Returns whether the locked-memory limit prevented the creation of a ring. The error code alone does not show this,
/// because it is the same when the machine is out of memory.
fn is_short_of_locked_memory(error: &io::Error) -> bool {
    let shard = usize::try_from(MEMLOCK_BYTES_MIN).unwrap_or(usize::MAX);
    error.raw_os_error() == Some(libc::ENOMEM)
        && ring::lockable_bytes(shard).is_ok_and(|left| left < shard)
}

fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EAGAIN))
}

/// Returns the failure for a shard that could not be created, unless locked memory was the reason.
fn other(index: usize, wanted: usize, error: &io::Error) -> Failure {
    let remedy = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            ": raise the limit of open files (`ulimit -n`, LimitNOFILE= in the unit, --ulimit nofile= of the container)"
        }
        Some(libc::EAGAIN) => {
            ": raise the limit of threads (`ulimit -u`, TasksMax= in the unit, --pids-limit of the container)"
        }
        Some(libc::ENOMEM) => {
            ": the machine has no memory left, or the limit of the cgroup is too low (MemoryMax= in the unit, --memory \
             of the \
             container)"
        }
        Some(_) | None => "",
    };
    let number = index + 1;
    Failure::Fatal(format!(
        "shard {number} of {wanted} cannot be created: {error}{remedy}"
    ))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    fit: usize,
    shard: u64,
    /// Memory locked by this user's other processes, in bytes.
    others: u64,
}

impl Need {
    fn learn(threads: Vec<ShardThread<Shard>>, limit: u64) -> Self {
        let fit = threads.len();
        // Upper bound for both measurements. A shard locks less than the lowest permitted limit.
        let most = (fit + 1) * usize::try_from(MEMLOCK_BYTES_MIN).unwrap_or(usize::MAX);
        let left = || ring::lockable_bytes(most).unwrap_or(0) as u64;
        let with = left();
        threads.into_iter().for_each(ShardThread::end);
        let without = settled(left);
        Self::of(fit, limit, with, without)
    }

    /// Computes the memory that a shard needs from two measurements of the lockable memory: `with` the shards that fit,
    /// and `without` any shards.
    fn of(fit: usize, limit: u64, with: u64, without: u64) -> Self {
        let taken = without.saturating_sub(with);
        Self {
            fit,
            // If no shard fits, this amount is enough for one shard on any kernel.
            shard: taken
                .checked_div(fit as u64)
                .filter(|&shard| shard > 0)
                .unwrap_or(MEMLOCK_BYTES_MIN),
            others: limit.saturating_sub(without),
        }
    }

    fn refusal(self, wanted: usize, limit: u64) -> String {
        let need = self.shard * wanted as u64;
        let others = if self.others < OTHERS_MIN {
            String::new()
        } else {
            let held = mib(self.others);
            format!(", and other processes of this user hold {held} of it")
        };
        let fewer = match self.fit {
            0 => String::new(),
            fit => format!("--shards {fit}, or "),
        };
        let shards = if wanted == 1 {
            "shard needs"
        } else {
            "shards need"
        };
        let raise = (need + self.others).div_ceil(MIB);
        format!(
            "{wanted} {shards} {} MiB of locked memory, the limit is {}{others}: {fewer}raise it to {raise} MiB: {}",
            need.div_ceil(MIB),
            mib(limit),
            ring::memlock_remedy(raise * MIB),
        )
    }
}

/// Repeats a measurement until two consecutive results agree or time runs out.
fn settled(measure: impl Fn() -> u64) -> u64 {
    let until = Instant::now() + RELEASE_MAX;
    let mut last = measure();
    loop {
        thread::sleep(RELEASE_STEP);
        let next = measure();
        if next == last || Instant::now() > until {
            return next;
        }
        last = next;
    }
}

/// Formats a byte count in MiB if it is a whole number of MiB, and in KiB otherwise.
fn mib(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{} KiB", bytes / 1024)
    }
}

/// The drawback of epoll. See `benches/README.md` for measurements.
const EPOLL_COST: &str = "each receive costs a system call";

/// Time that the kernel gets to release locked memory.
const RELEASE_MAX: Duration = Duration::from_millis(400);
const RELEASE_STEP: Duration = Duration::from_millis(20);

/// Lockable memory needed for a probe, in pages. The smallest ring needs half of it: one page for its queues, and one
/// for its entries.
const TRY_PAGES: usize = 4;
const TRY_BYTES_MIN: usize = 64 * 1024;

/// Amount of memory, in bytes, that other processes must have locked before it is reported. A smaller amount may belong
/// to rings that the kernel is still releasing.
const OTHERS_MIN: u64 = 128 * 1024;

const MIB: u64 = 1024 * 1024;

#[cfg(test)]
mod threads_tests {
    use super::*;
    use std::cell::Cell;

    const KIB: u64 = 1024;

    fn refuse(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn a_shard_in_the_middle_that_cannot_be_made_ends_the_start_with_the_remedy() {
        for (errno, remedy) in [
            (libc::EMFILE, "LimitNOFILE="),
            (libc::ENFILE, "LimitNOFILE="),
            (libc::EAGAIN, "TasksMax="),
            (libc::ENOMEM, "MemoryMax="),
            (libc::EIO, "Input/output error"),
        ] {
            let (made, error) = as_many_as_fit(8, |index| match index {
                3 => Err(refuse(errno)),
                index => Ok(index),
            });
            assert_eq!(made, [0, 1, 2]);
            let Failure::Fatal(text) = other(made.len(), 8, &error.unwrap()) else {
                panic!("exit code 1")
            };
            testkit::assert_begins(&text, "shard 4 of 8 cannot be created: ");
            testkit::assert_has(&text, &[remedy]);
        }
    }

    #[test]
    fn memory_that_is_about_to_be_given_back_is_waited_for() {
        let refusals = Cell::new(3);
        let (made, error) = as_many_as_fit(2, |index| {
            if refusals.get() > 0 {
                refusals.set(refusals.get() - 1);
                return Err(refuse(libc::ENOMEM));
            }
            Ok(index)
        });
        assert_eq!(made, [0, 1]);
        assert!(error.is_none());
        let (made, error) = as_many_as_fit(2, |index| match index {
            0 => Ok(index),
            _ => Err(refuse(libc::ENOMEM)),
        });
        assert_eq!(made, [0]);
        assert_eq!(error.unwrap().raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn the_error_names_the_need_the_room_and_other_holders() {
        let alone = Need::of(5, 8 * MIB, 300 * KIB, 8 * MIB - 8 * KIB);
        let text = alone.refusal(8, 8 * MIB);
        let expected = "8 shards need 13 MiB of locked memory, the limit is 8 MiB: --shards 5, or raise it to 13 MiB: \
                        in this shell `sudo prlimit --memlock=13631488 --pid $$`; ";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("LimitMEMLOCK=13312K"), "{text}");

        let beside = Need::of(2, 8 * MIB, 100 * KIB, 500 * KIB);
        let text = beside.refusal(8, 8 * MIB);
        testkit::assert_begins(
            &text,
            "8 shards need 2 MiB of locked memory, the limit is 8 MiB, and other processes of this user hold 7692 \
                 KiB of it: \
                 --shards 2, or raise it to 10 MiB: ",
        );

        let none = Need::of(0, 600 * KIB, 40 * KIB, 40 * KIB);
        let text = none.refusal(1, 600 * KIB);
        testkit::assert_begins(
            &text,
            "1 shard needs 1 MiB of locked memory, the limit is 600 KiB, and other processes of this user hold 560 \
                 KiB of it: \
                 raise it to 2 MiB: ",
        );
    }
}
