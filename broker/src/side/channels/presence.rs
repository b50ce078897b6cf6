//! Channel presence. Contains `GET /presence`, a paginated list of the channels whose clients are connected or waiting,
//! the format of a presence state, and the queue through which shards send states to event streams.

use crate::hooks::event::ShownState;
use crate::limits::STATES_TOLD_WAITING_MAX;
use crate::side::admin::http::{Answer, Fault, parameter};
use crate::side::channels::list::{Listing, Search, gather, limit_of, place_of};
use crate::side::feed::{Event, Feed, event};
use crate::side::inspector::Inspector;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::presence::{Audience, Presence, PresenceCause, Told};
use broker_core::{id::Identity, shard::ChannelLine};
use codec::identifiers::{ChannelArn, ChannelName};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) fn routes(inspector: Inspector) -> Router {
    Router::new()
        .route("/presence", get(list))
        .with_state(inspector)
}

/// `GET /presence?after=&limit=&scope=`: the presence of channels on all nodes, or only on this node if `scope` is
/// `node`.
async fn list(State(inspector): State<Inspector>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let limit = limit_of(&query)?;
    let own = own_page(&inspector, &query);
    Ok(Json(PAGES.of_all(&inspector, &query, limit, own).await?))
}

pub(crate) async fn own_page(inspector: &Inspector, query: &str) -> Result<Value, Fault> {
    let after = parameter(query, "after")?;
    let after = after.map(|after| place(inspector, &after).ok_or(BAD_AFTER));
    let search = Search {
        after: after.transpose()?,
        presence: true,
        limit: limit_of(query)?,
        ..Search::default()
    };
    let is_used: &(dyn Fn(&ChannelLine) -> bool + Sync) = &|line| line.presence.is_some();
    let (lines, more) = gather(inspector, search, Some(is_used)).await?;
    let states = lines
        .iter()
        .filter_map(|(_, line)| line.presence.as_deref());
    let entries = states.map(|presence| entry(presence, inspector.node()));
    let last = lines.last().filter(|_| more);
    Ok(PAGES.page(entries.collect(), last.map(|(_, line)| &line.identity)))
}

/// Parses the channel after which a page starts: either the `next` of the previous page, or the name of a channel in
/// the configured account.
fn place(inspector: &Inspector, after: &str) -> Option<Identity> {
    match ChannelName::parse(after) {
        Ok(_) => Some(inspector.own(after)),
        Err(_) => place_of(after),
    }
}

const PAGES: Listing = Listing {
    path: "/presence",
    entries: "presence",
    next: "next",
    channel: "/channel",
    place: Identity::text,
};
const BAD_AFTER: Fault =
    Fault::bad("after: must be the next of the page before, or a channel's name");

// The format of a presence state, the same as in the hook event `channel.presence`. It always includes addresses and
// client ids, since operators may see them.

pub(crate) fn entry(presence: &Presence, node: Option<&str>) -> Value {
    crate::hooks::event::state(node, presence, ShownState::ALL).into()
}

/// Creates the event that reports a presence state, with the cause of the change.
pub(crate) fn told(presence: &Presence, node: Option<&str>) -> Event {
    let told = crate::hooks::event::changed(node, presence, ShownState::ALL);
    event("presence", &told.into())
}

/// Returns the members of a state that are compared to detect changes: all except the state's number and times.
pub(crate) fn gist(entry: &Value) -> Value {
    let waiting = entry["waiting"].as_array().into_iter().flatten();
    let waiting = waiting.map(|one| [&one["clientId"], &one["action"]]);
    let waiting: Vec<_> = waiting.collect();
    serde_json::json!([
        entry["node"],
        entry["epoch"],
        entry["master"]["remote"],
        entry["viewers"],
        waiting,
        entry["waitingMore"],
    ])
}

// Shards send presence states to the readers (event streams) through a bounded queue. The queue is used only while
// there are readers.

/// The receiving end of the presence queue. Event streams read from it.
#[derive(Debug)]
pub struct Readers {
    told: mpsc::Receiver<Told>,
    teller: Teller,
    slots: Option<Arc<SlotMap>>,
}

/// The sending end of the presence queue, for the shards. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Teller {
    tell: mpsc::Sender<Told>,
    is_read: Arc<AtomicBool>,
}

impl Readers {
    /// Creates a queue that has no readers yet. In a cluster, `slots` are the slots of this node.
    #[must_use]
    pub fn new(slots: Option<Arc<SlotMap>>) -> Self {
        let (tell, told) = mpsc::channel(STATES_TOLD_WAITING_MAX);
        let is_read = Arc::default();
        Self {
            told,
            teller: Teller { tell, is_read },
            slots,
        }
    }

    /// Returns the sending end.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// Forwards states from the shards to the streams. Runs for the lifetime of the process. After a slot has moved to
    /// another node, its channels produce no further events on this node. All streams therefore start again with the
    /// current state.
    ///
    /// Checks for moved slots at the interval `look`, which is [`LOOK_EVERY`] except in tests.
    pub(crate) async fn feed(mut self, feed: Arc<Feed>, node: Option<Box<str>>, look: Duration) {
        let changes = |slots: &Option<Arc<SlotMap>>| slots.as_ref().map(|it| it.presence_changes());
        let (mut some, mut known) = (Vec::new(), changes(&self.slots));
        let mut every = interval(look);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.told.recv_many(&mut some, TOLD_PER_TURN) => {}
                _ = every.tick() => {
                    let now = changes(&self.slots);
                    if std::mem::replace(&mut known, now) != now {
                        feed.lose();
                    }
                }
            }
            for told in some.drain(..) {
                match told {
                    Told::Presence(presence) => {
                        if let Ok(arn) = ChannelArn::parse(&presence.arn, false) {
                            let told = || self::told(&presence, node.as_deref());
                            feed.send_state(Identity::of(&arn), told);
                        }
                    }
                    Told::Lost => feed.lose(),
                }
            }
        }
    }
}

impl Teller {
    /// Sets whether there are any event streams that read presence states. While there are none, states are discarded.
    pub(crate) fn set_read(&self, is_read: bool) {
        self.is_read.store(is_read, Ordering::Relaxed);
    }

    /// Creates a shard's audience, which consists of the readers of presence states and, if there are any, the hooks.
    #[must_use]
    pub fn of_shard(&self, hooks: Option<Box<dyn Audience>>) -> Box<dyn Audience> {
        Box::new(Ears {
            readers: self.clone(),
            hooks,
        })
    }
}

struct Ears {
    readers: Teller,
    hooks: Option<Box<dyn Audience>>,
}

impl Audience for Ears {
    /// Forwards the state to the readers and the hooks. If either queue is full, returns the state, and the shard sends
    /// it again later.
    fn tell(&mut self, told: Told) -> Result<(), Told> {
        let place = match self.readers.tell.try_reserve() {
            Ok(place) if self.is_read() && concerns_readers(&told) => Some(place),
            Err(TrySendError::Full(())) if self.is_read() => return Err(told),
            Ok(_) | Err(TrySendError::Full(()) | TrySendError::Closed(())) => None,
        };
        let copy = place.as_ref().map(|_| told.clone());
        match &mut self.hooks {
            Some(hooks) if concerns_hooks(&told) => hooks.tell(told)?,
            Some(_) | None => {}
        }
        if let (Some(place), Some(copy)) = (place, copy) {
            place.send(copy);
        }
        Ok(())
    }

    fn is_read(&self) -> bool {
        self.readers.is_read.load(Ordering::Relaxed)
    }
}

fn concerns_hooks(told: &Told) -> bool {
    match told {
        Told::Presence(presence) => presence.hooks != 0,
        Told::Lost => true,
    }
}

/// Returns whether the event streams need this report. When a hook stops watching a channel, the shard reports an empty
/// presence, which is meant only for the hook.
fn concerns_readers(told: &Told) -> bool {
    match told {
        Told::Presence(presence) => presence.cause != PresenceCause::Unwatched,
        Told::Lost => true,
    }
}

pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Maximum number of states sent to the streams per loop iteration.
const TOLD_PER_TURN: usize = 256;

#[cfg(test)]
mod readers_tests {
    use super::*;
    use crate::side::feed::{Bell, FeedKind, Next};
    use broker_core::id::Account;
    use broker_core::time::Wall;

    struct Hook(std::sync::mpsc::SyncSender<Told>);

    impl Audience for Hook {
        fn tell(&mut self, told: Told) -> Result<(), Told> {
            self.0.try_send(told).map_err(|error| match error {
                std::sync::mpsc::TrySendError::Full(told)
                | std::sync::mpsc::TrySendError::Disconnected(told) => told,
            })
        }
    }

    fn state(hooks: u16, cause: PresenceCause) -> Told {
        Told::Presence(Box::new(Presence {
            name: "c".into(),
            arn: "arn:aws:kinesisvideo:r:123456789012:channel/c/7".into(),
            account: Account(0),
            hooks,
            slot: None,
            epoch: 1,
            sequence: 1,
            at: Wall(0),
            cause,
            reason: None,
            master: None,
            viewers: 0,
            waiting: Vec::new(),
            more: 0,
        }))
    }

    #[test]
    fn each_gets_what_concerns_it_and_all_or_nobody_do() {
        let mut readers = Readers::new(None);
        let (hook, heard) = std::sync::mpsc::sync_channel(1);
        let mut ears = readers.teller().of_shard(Some(Box::new(Hook(hook))));
        let (known, other) = (
            state(1, PresenceCause::MasterJoined),
            state(0, PresenceCause::MasterJoined),
        );
        assert_eq!(ears.tell(known.clone()), Ok(()));
        assert!(readers.told.try_recv().is_err(), "nobody reads");
        readers.teller().set_read(true);
        assert_eq!(
            ears.tell(known.clone()),
            Err(known.clone()),
            "the hook has no room"
        );
        assert!(readers.told.try_recv().is_err(), "the shard tells it again");
        assert_eq!(heard.try_recv(), Ok(known.clone()));
        assert_eq!(ears.tell(other.clone()), Ok(()));
        assert_eq!(readers.told.try_recv(), Ok(other));
        assert!(heard.try_recv().is_err());
        assert_eq!(ears.tell(state(1, PresenceCause::Unwatched)), Ok(()));
        assert!(readers.told.try_recv().is_err() && heard.try_recv().is_ok());
        (0..STATES_TOLD_WAITING_MAX)
            .for_each(|_| assert!(ears.tell(state(0, PresenceCause::Served)).is_ok()));
        assert_eq!(
            ears.tell(known.clone()),
            Err(known),
            "the readers have no room"
        );
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn streams_begin_again_when_slots_have_moved() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let slots = Arc::new(SlotMap::unknown(broker_core::id::NodeId(0)));
        let readers = Readers::new(Some(Arc::clone(&slots)));
        let feed = Feed::of(FeedKind::StatesOfChannels, &Bell::default());
        let mut stream = feed.watch();
        runtime.block_on(async {
            let look = Duration::from_millis(1);
            tokio::spawn(readers.feed(Arc::clone(&feed), None, look));
            tokio::time::sleep(3 * look).await;
            assert_eq!(stream.next(), Next::Nothing);
            slots.set_presence(broker_core::id::Slot(7), 3);
            let lagged = async {
                while stream.next() == Next::Nothing {
                    tokio::time::sleep(look).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), lagged)
                .await
                .unwrap();
        });
    }
}
