//! Looks at what problems are about: whether members are connected again, and the causes that stand (silent shards,
//! files that were not applied, certificates near their end, a full disk, nodes, doubtful and displaced cameras).

use crate::edge::turn::calendar;
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
use codec::signal::Role;
use rustix::fs::statvfs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The sources of what is looked at.
pub(crate) struct Watch {
    problems: Arc<Problems>,
    sources: Sources,
    agreement: Agreement,
    cluster: Option<LookAtCluster>,
    history: HistoryStore,
    data_dir: PathBuf,
    region: String,
}

/// A standing cause: what it is about, since when, what it is, and whether it does no harm yet.
struct Standing {
    by: By,
    value: String,
    since: Wall,
    says: String,
    is_mild: bool,
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

    /// Looks, for as long as the process runs.
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
                changed.into_iter().for_each(|it| self.history.record(it));
            }
        }
    }

    /// Asks the shards of channels whether members are connected again. A shard that does not answer ends the turn.
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
            exists: true,
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
        let status = &self.sources.status;
        let figures = self.sources.overview.now().await;
        let silent = figures["shards"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|shard| {
                let since = since(now, shard["silentSeconds"].as_f64()?);
                Some(Standing::new(
                    By::Shard,
                    shard["shard"].to_string(),
                    since,
                    "It does not answer: its connections get nothing.",
                ))
            });
        self.stand(
            "shard_silent",
            silent,
            "If this lasts, restart the broker and keep its log.",
            "shard answers",
        );
        let (failed, ends) = self.files();
        self.stand(
            "reload_failed",
            failed.into_iter(),
            "Correct the file, then reload.",
            "file applied",
        );
        self.stand(
            "certificate_expires",
            ends.into_iter(),
            "Renew it; the broker reads the files again by itself.",
            "renewed",
        );
        let failing = (status.status() == Status::StoreFailed).then(|| {
            Standing::new(
                By::File,
                "registry".into(),
                now,
                "The registry takes no changes of channels.",
            )
        });
        self.stand(
            "store_failed",
            failing.into_iter(),
            "Read the log: the disk or etcd does not take them.",
            "changes taken",
        );
        let free = statvfs(&self.data_dir)
            .ok()
            .map(|it| it.f_bavail.saturating_mul(it.f_frsize));
        let low = free.filter(|free| *free < DISK_LOW_BYTES).map(|free| {
            let says = format!("{} MiB are free for the data directory.", free >> 20);
            Standing::new(By::File, "data directory".into(), now, says)
        });
        self.stand(
            "disk_low",
            low.into_iter(),
            "Make room: changes of channels fail when it is full.",
            "room made",
        );
        self.look_at_nodes(now).await;
    }

    async fn look_at_nodes(&self, now: Wall) {
        let differ = self.agreement.json();
        let differ = differ
            .iter()
            .flat_map(|it| it["differ"].as_array().into_iter().flatten());
        let differ = differ.filter(|it| it["late"] == true).filter_map(|it| {
            let since = since(now, it["seconds"].as_f64()?);
            let says = "Its credentials differ from those of this node: who was removed from one still gets in by way \
                        of the other.";
            Some(Standing::new(By::Node, it["node"].as_str()?.into(), since, says))
        });
        self.stand(
            "credentials_differ",
            differ,
            "Copy the files of one node to all.",
            "same files",
        );
        let Some(look) = self.cluster.clone() else {
            return;
        };
        let view = tokio::task::spawn_blocking(move || look()).await;
        let Ok(Some(view)) = view else { return };
        let silent = view
            .nodes
            .into_iter()
            .filter(|it| !it.is_here && !it.is_heard)
            .map(|it| {
                let says = format!(
                    "It does not answer this node; {} slots of channels are its own.",
                    it.slots
                );
                Standing::new(By::Node, it.name, now, says)
            });
        self.stand(
            "node_silent",
            silent,
            "Check that it runs, and the network between the nodes.",
            "node answers",
        );
    }

    /// The files that were not applied, and the certificates near their end.
    fn files(&self) -> (Vec<Standing>, Vec<Standing>) {
        let now = calendar();
        let (mut failed, mut ends) = (Vec::new(), Vec::new());
        for (what, reload) in self.sources.status.reloads().lock().iter() {
            if let Some((since, error)) = &reload.failed {
                let says = format!(
                    "Reload failed; the version before stays in force, with what the new one withdraws. {error}"
                );
                failed.push(Standing::new(By::File, (*what).into(), Wall(*since), says));
            }
            for (of, end_s) in &reload.ends {
                let left_s = end_s.saturating_sub(now.0 / 1000);
                if left_s < CERTIFICATE_S {
                    let days = left_s / DAY_S;
                    let says = if left_s == 0 {
                        "It has expired.".into()
                    } else {
                        format!("It expires in {days} days.")
                    };
                    let value = format!("certificate of {}", of.replace('_', " "));
                    ends.push(Standing {
                        is_mild: days > 7,
                        ..Standing::new(By::File, value, now, says)
                    });
                }
            }
        }
        (failed, ends)
    }

    /// Cameras that confirm nothing, and connections that lost their place and stay. Of very many the first.
    async fn look_at_cameras(&self) {
        let now = calendar();
        let displaced = self.sources.troubled.displaced();
        let says: Vec<String> = displaced.iter().map(displaced_says).collect();
        let says: Vec<_> = says.iter().map(|says| || says.clone()).collect();
        let found = displaced.iter().zip(&says).map(|(line, says)| Incident {
            channel: Some(line.arn.name()),
            role: Some(
                line.client_id
                    .as_ref()
                    .map_or(Role::Master, |_| Role::Viewer),
            ),
            client_id: line.client_id.as_deref(),
            key: None,
            account: Some(Account::of(&line.arn)),
            is_mild: !line.sends,
            ..Incident::new(Kind::Standing, "displaced", line.since, says, DISPLACED)
        });
        self.problems.lock().stand(
            "displaced",
            &found.collect::<Vec<_>>(),
            now,
            "one connection left",
        );
        let Some(doubtful) = self.doubtful().await else {
            return;
        };
        let says = || "It is connected and confirms nothing: it may be cut off.".to_owned();
        let found = doubtful.iter().filter_map(|line| {
            let master = line.presence.as_ref()?.master?;
            Some(Incident {
                channel: Some(line.arn.name()),
                role: Some(Role::Master),
                remote: Some(master.remote),
                account: Some(Account::of(&line.arn)),
                is_mild: true,
                ..Incident::new(
                    Kind::Standing,
                    "doubtful",
                    master.doubtful_since?,
                    &says,
                    "Check its network and its power.",
                )
            })
        });
        self.problems.lock().stand(
            "doubtful",
            &found.collect::<Vec<_>>(),
            now,
            "confirms again",
        );
    }

    /// Channels whose camera confirms nothing; none where the shards count no such connection. `None` when a shard does
    /// not answer.
    async fn doubtful(&self) -> Option<Vec<ChannelLine>> {
        if self.sources.overview.doubtful() == 0 {
            return Some(Vec::new());
        }
        let search = Search {
            prefix: "",
            after: None,
            viewer: None,
            presence: true,
            limit: PROBLEMS_SHOWN_MAX,
        };
        let fits: &(dyn Fn(&ChannelLine) -> bool + Sync) = &|line| {
            let master = line.presence.as_ref().and_then(|it| it.master.as_ref());
            master.is_some_and(Master::is_doubtful)
        };
        let found = gather(&self.sources.inspector, search, Some(fits)).await;
        Some(found.ok()?.0.into_iter().map(|(_, line)| line).collect())
    }

    /// The causes of a check that stand.
    fn stand(
        &self,
        check: &'static str,
        found: impl Iterator<Item = Standing>,
        remedy: &'static str,
        end: &'static str,
    ) {
        let found: Vec<Standing> = found.collect();
        let says: Vec<_> = found.iter().map(|one| || one.says.clone()).collect();
        let found = found.iter().zip(&says).map(|(one, says)| Incident {
            thing: Some((one.by, &one.value)),
            is_mild: one.is_mild,
            ..Incident::new(Kind::Standing, check, one.since, says, remedy)
        });
        self.problems
            .lock()
            .stand(check, &found.collect::<Vec<_>>(), calendar(), end);
    }
}

impl Standing {
    fn new(by: By, value: String, since: Wall, says: impl Into<String>) -> Self {
        Self {
            by,
            value,
            since,
            says: says.into(),
            is_mild: false,
        }
    }
}

/// The moment this many seconds ago.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of silence"
)]
fn since(now: Wall, seconds: f64) -> Wall {
    Wall(now.0.saturating_sub((seconds * 1000.0) as u64))
}

const DISPLACED: &str = "Two devices use this channel: give each a channel of its own.";
/// Seconds between two looks at standing causes: one letter to each shard.
const STANDING_EVERY_S: u64 = 5;
/// Channels of one name on a shard, of accounts, among which one is looked for.
const SAME_NAMES_MAX: usize = 64;
/// Less free space than this is a problem.
const DISK_LOW_BYTES: u64 = 1 << 30;
const DAY_S: u64 = 86_400;
/// A certificate that ends sooner is a problem.
const CERTIFICATE_S: u64 = 30 * DAY_S;
