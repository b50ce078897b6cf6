//! Prepares what the admin listener needs: the data sources of its pages, its tokens, the data of `/try`, and the setup
//! of `--lan`.

use crate::devices::unix_s;
use crate::edge::{Post, TakeAdmin};
use crate::failure::{Failure, Fallible};
use crate::qr::Qr;
use crate::server::cluster::node::Node;
use crate::server::mailboxes::Mailboxes;
use crate::server::{
    disk_registry::Registry, random::random, ready::environment, records::Records,
};
use crate::side::{
    Backup, Captures, Commit, Creation, DevTools, History, HistoryStore, InForce, Inspect, Lan,
    Lender, Log, Look, MoveClocks, Pairing, ProcessState, Readers, Refusals, Report, Scraper,
    ShardLook, Shared, Shows, Survey, Tokens, Tries, Whom, visits,
};
use crate::{files, session_key};
use broker_core::auth::{Nonces, SessionKeys};
use broker_core::registry::{Ticket, encode, key};
use broker_core::shard::Reply;
use broker_core::{id::ShardId, placement::Placement, settings::Settings, time::Moment};
use data_encoding::HEXLOWER;
use rustix::fs::statvfs;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;

pub(crate) struct AdminSecrets<'a> {
    tokens: Option<Tokens>,
    session_keys: &'a SessionKeys,
}

impl<'a> AdminSecrets<'a> {
    pub(crate) const fn new(tokens: Option<Tokens>, session_keys: &'a SessionKeys) -> Self {
        Self {
            tokens,
            session_keys,
        }
    }
}

pub(crate) fn shows(
    settings: &Arc<Settings>,
    placement: &Placement,
    mailboxes: &Mailboxes,
    registry: &Records,
    log: &Log,
    secrets: AdminSecrets<'_>,
) -> Fallible<Shows> {
    let AdminSecrets {
        tokens,
        session_keys,
    } = secrets;
    let refusals = Refusals::new(log, session_keys, settings.shards);
    let (log, kept) = (log.clone(), log.kept.clone());
    let (profile, engine) = (settings.profile.into(), settings.engine.into());
    // The process started at most a second earlier.
    let started = unix_s(SystemTime::now());
    let data_dir = settings.data_dir.clone();
    let cluster = registry.node().map(Node::page);
    let look_at_cluster = cluster.as_ref().map(|page| Arc::clone(&page.look));
    let mut scraper = Scraper::new(Arc::clone(mailboxes));
    let scrape = Box::new(move || {
        let report = scraper.scrape(ANSWER_MAX);
        if report.is_none() {
            tracing::warn!(shards = ?scraper.silent(), "some shards did not answer a scrape");
        }
        let process = ProcessState {
            log_dropped: log.dropped(),
            profile,
            engine,
            started,
            // The space that an unprivileged process may use.
            data_dir_free: (statvfs(&data_dir).ok())
                .map(|state| state.f_bavail.saturating_mul(state.f_frsize)),
            cluster: look_at_cluster.as_ref().and_then(|look| look()),
            ..ProcessState::default()
        };
        report.map(|report| Report { process, ..report })
    });
    let in_file = (!settings.data_dir_ends).then_some(&*settings.data_dir);
    let store = HistoryStore::open(in_file);
    let store = store.map_err(|error| Failure::fatal("the history cannot be opened", &error))?;
    Ok(Shows {
        tries: Tries::default(),
        in_force: None,
        imports: imports(registry),
        hooks: None,
        providers: None,
        known: None,
        accounts: None,
        readers: Readers::new(placement.map()),
        lan: None,
        scrape,
        inspect: inspect(placement.clone(), Arc::clone(mailboxes)),
        look: look(Arc::clone(mailboxes)),
        history: Shared::new(History::new(mailboxes.len(), Instant::now(), store)),
        log: kept.tail,
        refusals,
        troubled: kept.troubled,
        backup: backup(settings, registry),
        settings: Arc::clone(settings),
        tokens,
        dev: settings.dev.then(|| DevTools {
            clocks: clocks(Arc::clone(mailboxes)),
            captures: settings.dev_capture.then(Captures::default),
            environment: environment(settings),
        }),
        cluster,
        nodes: registry.node().map(Node::pages),
    })
}

fn clocks(mailboxes: Mailboxes) -> MoveClocks {
    let mut survey = Survey::new(mailboxes);
    Box::new(move |shift| {
        let all = survey.all();
        let answers = survey.ask(all, EXPIRIES_MAX, |to| Post::Shift(shift, to));
        let moment = |(shard, answer): (_, Option<(_, Moment)>)| (shard, answer.map(|(_, at)| at));
        answers.into_iter().map(moment).collect()
    })
}

fn inspect(placement: Placement, mailboxes: Mailboxes) -> Inspect {
    let mut survey = Survey::new(mailboxes);
    Box::new(move |whom, question| {
        let shards = match whom {
            Whom::All => survey.all(),
            Whom::Home(channel) => {
                let home = placement.shard(channel).index();
                home..home + 1
            }
            Whom::One(shard) => shard.index()..shard.index() + 1,
        };
        let post = |to| Post::Inspect(Box::new(question.clone()), to);
        let answers = survey.ask(shards, ANSWER_MAX, post).into_iter();
        let reply =
            |(shard, answer): (_, Option<(_, Reply)>)| (shard, answer.map(|(_, reply)| reply));
        answers.map(reply).collect()
    })
}

/// Returns the callback that collects the numbers for the console's overview. A hanging shard delays each call by a
/// fraction of a second.
fn look(mailboxes: Mailboxes) -> Look {
    let mut survey = Survey::new(mailboxes);
    Box::new(move || {
        let answers = survey.ask(survey.all(), LOOK_MAX, Post::Scrape).into_iter();
        let now = Instant::now();
        let one = |(shard, answer): (ShardId, _)| ShardLook {
            shard,
            answer,
            silence: survey.silence(shard.index(), now),
        };
        answers.map(one).collect()
    })
}

/// Returns the handle that stores imported channels. Returns `None` in a cluster, whose channels are stored in etcd.
fn imports(registry: &Records) -> Option<Commit> {
    let committer = registry.on_disk().map(Registry::committer)?;
    Some(Arc::new(move |creations: Vec<Creation>| {
        let changes = creations
            .into_iter()
            .map(|(shard, channel, record)| store::Change {
                ticket: Ticket { shard, channel },
                key: key(&record.arn).into(),
                value: Some(encode(&record)),
            });
        let committed = committer.submit_together(changes.collect());
        committed.map_err(|error| error.to_string())
    }))
}

fn backup(settings: &Settings, registry: &Records) -> Backup {
    let committer = registry.on_disk().map(Registry::committer);
    let data_dir = settings.data_dir.clone();
    Backup {
        snapshot: Box::new(move || match &committer {
            Some(committer) => committer.snapshot().map_err(|error| error.to_string()),
            None => Err("the channels of a cluster are in etcd: use its snapshots".into()),
        }),
        session_key: Box::new(move || session_key::text(&data_dir)),
        data_dir: settings.data_dir.clone(),
    }
}

/// Creates a container's admin token in its data directory, unless the operator has configured one. Keeps an existing
/// token, which browsers may still use.
pub(crate) fn make_token(settings: &mut Settings) -> Fallible<()> {
    if !settings.container || settings.admin.token_file.is_some() {
        return Ok(());
    }
    let path = settings.data_dir.join(MADE_TOKEN);
    if files::token(&path).is_err() {
        let token = HEXLOWER.encode(&random()?);
        files::write_whole(&path, &token, 0o600)
            .map_err(|error| Failure::Fatal(format!("{}: {error}", path.display())))?;
    }
    settings.admin.token_file = Some(path);
    Ok(())
}

pub(crate) const MADE_TOKEN: &str = "admin.token";

const ANSWER_MAX: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Maximum time for shards to handle the timers that expire in a clock jump.
const EXPIRIES_MAX: Duration = Duration::from_secs(10);

// The data of `/try`: a channel and, if requests must be signed, a session issuer.

pub(crate) fn prepare_try_page(
    shows: &mut Shows,
    in_force: Option<InForce>,
    session_keys: &Arc<SessionKeys>,
    log: &Log,
) -> Fallible<()> {
    let (channel, seed) = (random()?, random()?);
    let lender = |credentials| {
        // No shard has this number.
        let nonces = Nonces::new(&seed, u16::MAX);
        let session_keys = Arc::clone(session_keys);
        Mutex::new(Lender::new(
            credentials,
            session_keys,
            nonces,
            log.journal(),
        ))
    };
    let [first, second, ..] = channel;
    shows.tries = Tries {
        channel: format!("try-{}", HEXLOWER.encode(&[first, second])),
        lender: in_force.clone().map(lender),
    };
    shows.in_force = in_force;
    Ok(())
}

// Setup of `--lan`: how shards hand connections over to the pages, and the first pairing code for a phone.

/// Creates the sender that shards use to hand connections over to the pages, and the pairing code generator. Stores the
/// corresponding receiver in `shows`. Without `--lan`, returns `None` for both.
pub(crate) fn open_lan(
    settings: &Settings,
    shows: &mut Shows,
) -> (Option<TakeAdmin>, Option<Pairing>) {
    if settings.lan.is_none() {
        return (None, None);
    }
    let (take, visits) = visits();
    let pairing = Pairing::default();
    shows.lan = Some(Lan {
        visits,
        pairing: pairing.clone(),
    });
    (Some(take), Some(pairing))
}

/// Prints a pairing code to stderr if stderr is a terminal. Otherwise, stderr is probably a log, which must not contain
/// secrets.
pub(crate) fn invite_phone(settings: &Settings, pairing: Option<&Pairing>) {
    let mut out = std::io::stderr().lock();
    let (Some(pairing), Some(base), true) = (pairing, settings.lan_url(), out.is_terminal()) else {
        return;
    };
    let url = pairing.code(Instant::now());
    let url = url.map(|code| format!("{base}/pair/{code}"));
    let Some((qr, url)) = url.and_then(|url| Some((Qr::new(&url)?, url))) else {
        return;
    };
    let mut text = format!(
        "\n{}\n  On a phone in the same network: {url}\n  Accept the certificate there, and press Use this device. The \
         code works once, within five minutes.\n",
        qr.terminal()
    );
    if let Some(page) = settings.try_url() {
        let _ = writeln!(text, "  Another code: Open on my phone, at {page}\n");
    }
    let _ = out.write_all(text.as_bytes());
}
