//! Checks whether the members of problems have reconnected, and whether persistent problems still exist. Persistent
//! problems are: shards that do not respond, rejected files, certificates about to expire, a full disk, problems of
//! other nodes, cameras that do not confirm messages, and displaced cameras.

use crate::edge::turn::calendar;
use crate::hooks::Order;
use crate::limits::{PROBLEM_LOOKS_PER_SECOND, PROBLEMS_RECORDED_AT_ONCE, PROBLEMS_SHOWN_MAX};
use crate::side::HistoryStore;
use crate::side::channels::list::{Search, gather};
use crate::side::cluster::{Agreement, LookAtCluster};
use crate::side::console::topics::Sources;
use crate::side::forget::Memories;
use crate::side::problems::{By, Incident, Kind, Look, Problems, Seen};
use crate::side::shared_state::Status;
use crate::side::trace::failed_sessions::displaced_says;
use broker_core::id::{Account, Identity};
use broker_core::presence::Master;
use broker_core::settings::Settings;
use broker_core::shard::{ChannelLine, Question, Reply};
use broker_core::time::Wall;
use codec::identifiers::ChannelArn;
use codec::signal::Role;
use rustix::fs::statvfs;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) struct Watch {
    problems: Arc<Problems>,
    sources: Sources,
    agreement: Agreement,
    cluster: Option<LookAtCluster>,
    history: HistoryStore,
    data_dir: PathBuf,
    region: String,
}

impl Watch {
    pub(crate) fn new(
        sources: &Sources,
        memories: &Memories,
        agreement: &Agreement,
        cluster: Option<LookAtCluster>,
        settings: &Settings,
    ) -> Self {
        Self {
            problems: Arc::clone(&memories.problems),
            sources: sources.clone(),
            agreement: agreement.clone(),
            cluster,
            history: memories.history.clone(),
            data_dir: settings.data_dir.clone(),
            region: settings.region.clone(),
        }
    }

    pub(crate) async fn follow(self) {
        let mut every = interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0_u64.. {
            every.tick().await;
            self.look_at_members().await;
            if tick % STANDING_EVERY_S == 0 {
                self.look_at_node().await;
                self.look_at_cameras().await;
                self.problems.lock().age(calendar());
                let changed = self.problems.lock().take_changed(PROBLEMS_RECORDED_AT_ONCE);
                for (cause, is_news) in changed {
                    let hooks = self.sources.overview.history.lock().hooks.clone();
                    if let Some(hooks) = hooks.filter(|_| is_news) {
                        hooks.order(Order::Problem(cause.json()));
                    }
                    self.history.record(cause);
                }
            }
        }
    }

    /// Asks the shards whether members have reconnected. Stops early if a shard does not respond.
    async fn look_at_members(&self) {
        let looks = self.problems.lock().due(PROBLEM_LOOKS_PER_SECOND);
        for look in looks {
            let own = self.sources.inspector.own(&look.channel);
            let identity = match look.account {
                Some(account) => Identity::new(&self.region, &account.to_string(), &look.channel),
                None => own,
            };
            let Some(seen) = self.see(&identity, &look).await else {
                return;
            };
            self.problems.lock().saw(&look, seen, calendar());
        }
    }

    async fn see(&self, identity: &Identity, look: &Look) -> Option<Seen> {
        let question = Question::Page {
            prefix: look.channel.clone(),
            after: None,
            limit: SAME_NAMES_MAX,
            viewer: look.client_id.clone(),
            presence: true,
        };
        let shards = &self.sources.inspector.shards;
        let (_, reply) = shards.ask_home(identity.clone(), question).await?;
        let Reply::Page(lines, _) = reply else {
            return None;
        };
        let line = lines.into_iter().find(|line| line.identity == *identity);
        let seen = line.map(|line| Seen {
            arn: Some(line.arn.as_str().into()),
            master: line
                .presence
                .and_then(|it| it.master)
                .map(|master| master.since),
            has_viewer: line.has_viewer,
        });
        Some(seen.unwrap_or_default())
    }

    async fn look_at_node(&self) {
        let now = calendar();
        let mut found = self.files(now);
        let figures = self.sources.overview.now().await;
        let shards = figures["shards"].as_array().into_iter().flatten();
        found.extend(shards.filter_map(|shard| {
            let since = since(now, shard["silentSeconds"].as_f64()?);
            let (by, value) = (By::Shard, shard["shard"].to_string());
            let says = "It does not answer: its connections get nothing.";
            Some(standing("shard_silent", by, &value, since, says))
        }));
        let files = self.agreement.json().unwrap_or_default();
        let differ = files["differ"].as_array().into_iter().flatten();
        let differ = differ.filter(|it| it["late"] == true);
        found.extend(differ.filter_map(|it| {
            let since = since(now, it["seconds"].as_f64()?);
            let (by, value) = (By::Node, it["node"].as_str()?);
            let says = "Its credentials differ from those of this node: callers that were removed from one are still \
                        accepted by the other.";
            Some(standing("credentials_differ", by, value, since, says))
        }));
        if self.sources.status.status() == Status::StoreFailed {
            let says = "The registry takes no changes of channels.";
            found.push(standing("store_failed", By::File, "registry", now, says));
        }
        let nodes = self.silent_nodes(now).await;
        let has_nodes = nodes.is_some();
        found.extend(nodes.into_iter().flatten());
        let mut problems = self.problems.lock();
        for (check, _, end) in STANDING {
            if has_nodes || check != "node_silent" {
                let found = found.extract_if(.., |it| it.check == check);
                problems.stand(check, found, now, end);
            }
        }
    }

    async fn silent_nodes(&self, now: Wall) -> Option<Vec<Incident<'static>>> {
        let look = self.cluster.clone()?;
        let view = tokio::task::spawn_blocking(move || look()).await.ok()??;
        let silent = view.silent().map(|it| {
            let slots = it.slots;
            let says =
                format!("It does not answer this node; {slots} slots of channels are its own.");
            standing("node_silent", By::Node, &it.name, now, says)
        });
        Some(silent.collect())
    }

    /// Returns the problems with files: reloads that were rejected, certificates that expire soon, and a data directory
    /// with little free space.
    fn files(&self, now: Wall) -> Vec<Incident<'static>> {
        let mut found = Vec::new();
        for (what, reload) in self.sources.status.reloads().lock().iter() {
            if let Some((since, error)) = &reload.failed {
                let says = format!(
                    "Reload failed; the version before stays in force, with what the new one withdraws. {error}"
                );
                let since = Wall(*since);
                found.push(standing("reload_failed", By::File, what, since, says));
            }
            for (of, end_s) in &reload.ends {
                let left_s = end_s.saturating_sub(now.0 / 1000);
                let days = left_s / DAY_S;
                let says = match left_s {
                    CERTIFICATE_S.. => continue,
                    0 => "It has expired.".into(),
                    _ => format!("It expires in {days} days."),
                };
                let value = format!("certificate of {}", of.replace('_', " "));
                found.push(Incident {
                    is_mild: days > 7,
                    ..standing("certificate_expires", By::File, &value, now, says)
                });
            }
        }
        let free = statvfs(&self.data_dir).map(|it| it.f_bavail.saturating_mul(it.f_frsize));
        if let Some(free) = free.ok().filter(|free| *free < DISK_LOW_BYTES) {
            let says = format!("{} MiB are free for the data directory.", free >> 20);
            let directory = "data directory";
            found.push(standing("disk_low", By::File, directory, now, says));
        }
        found
    }

    /// Records cameras that do not confirm messages, and superseded connections that stay open. If there are many, only
    /// the first ones are listed.
    async fn look_at_cameras(&self) {
        let now = calendar();
        let displaced = self.sources.troubled.displaced();
        let found = displaced.iter().map(|line| Incident {
            role: Some(match line.client_id {
                Some(_) => Role::Viewer,
                None => Role::Master,
            }),
            client_id: line.client_id.as_deref(),
            is_mild: !line.sends,
            at: line.since,
            says: displaced_says(line).into(),
            remedy: DISPLACED,
            ..of_channel("displaced", &line.arn)
        });
        let end = "one connection left";
        self.problems.lock().stand("displaced", found, now, end);
        let Some(doubtful) = self.doubtful().await else {
            return;
        };
        let found = doubtful.iter().filter_map(|line| {
            let master = line.presence.as_ref()?.master?;
            Some(Incident {
                role: Some(Role::Master),
                remote: Some(master.remote),
                is_mild: true,
                at: master.doubtful_since?,
                says: "It is connected and confirms nothing: it may be cut off.".into(),
                remedy: "Check its network and its power.",
                ..of_channel("doubtful", &line.arn)
            })
        });
        let end = "confirms again";
        self.problems.lock().stand("doubtful", found, now, end);
    }

    /// Returns the channels whose camera does not confirm messages, or `None` if a shard does not respond. Queries the
    /// shards only if the last count found such connections.
    async fn doubtful(&self) -> Option<Vec<ChannelLine>> {
        if self.sources.overview.history.lock().doubtful() == 0 {
            return Some(Vec::new());
        }
        let search = Search {
            presence: true,
            limit: PROBLEMS_SHOWN_MAX,
            ..Search::default()
        };
        let fits: &(dyn Fn(&ChannelLine) -> bool + Sync) = &|line| {
            let master = line.presence.as_ref().and_then(|it| it.master.as_ref());
            master.is_some_and(Master::is_doubtful)
        };
        let found = gather(&self.sources.inspector, search, Some(fits)).await;
        Some(found.ok()?.0.into_iter().map(|(_, line)| line).collect())
    }
}

fn of_channel<'a>(check: &'static str, arn: &'a ChannelArn) -> Incident<'a> {
    Incident {
        kind: Kind::Standing,
        check,
        channel: Some(arn.name()),
        channel_account: Some(Account::of(arn)),
        account: Some(Account::of(arn)),
        ..Incident::default()
    }
}

fn standing(
    check: &'static str,
    by: By,
    value: &str,
    since: Wall,
    says: impl Into<Cow<'static, str>>,
) -> Incident<'static> {
    let remedy = STANDING.iter().find(|(known, ..)| *known == check);
    Incident {
        kind: Kind::Standing,
        check,
        at: since,
        thing: Some((by, value.to_owned().into())),
        says: says.into(),
        remedy: remedy.map_or("", |(_, remedy, _)| remedy),
        ..Incident::default()
    }
}

/// The persistent problems that a node can have: the check, the remedy, and the message shown once the problem has
/// ended.
const STANDING: [(&str, &str, &str); 7] = [
    (
        "shard_silent",
        "If this lasts, restart the broker and keep its log.",
        "shard answers",
    ),
    (
        "reload_failed",
        "Correct the file, then reload.",
        "file applied",
    ),
    (
        "certificate_expires",
        "Renew it; the broker reads the files again by itself.",
        "renewed",
    ),
    (
        "store_failed",
        "Read the log: the disk or etcd does not take them.",
        "changes taken",
    ),
    (
        "disk_low",
        "Make room: changes of channels fail when it is full.",
        "room made",
    ),
    (
        "credentials_differ",
        "Copy the files of one node to all.",
        "same files",
    ),
    (
        "node_silent",
        "Check that it runs, and the network between the nodes.",
        "node answers",
    ),
];

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of silence"
)]
fn since(now: Wall, seconds: f64) -> Wall {
    Wall(now.0.saturating_sub((seconds * 1000.0) as u64))
}

const DISPLACED: &str = "Two devices use this channel: give each a channel of its own.";
/// Interval between checks of persistent causes, in seconds. Each check posts a message to every shard.
const STANDING_EVERY_S: u64 = 5;
/// Maximum number of channels per shard that are examined for one name. Channels of different accounts may have the
/// same name.
const SAME_NAMES_MAX: usize = 64;
const DISK_LOW_BYTES: u64 = 1 << 30;
const DAY_S: u64 = 86_400;
const CERTIFICATE_S: u64 = 30 * DAY_S;
