//! The node: a thread that gives the core what happens, and carries out what it wants.
//!
//! One input, then all outputs, then the next input, as the core is driven in its simulation. What the outputs cause at
//! once is queued behind them; what etcd refuses is reported with the next tick, so that nothing is tried in a loop.

mod control;
mod handle;
mod keeping;
mod log;
mod news;
mod outputs;
mod post;
mod records;

use crate::client::link::Link;
use crate::config::Config;
use crate::directory::{Directory, Kept};
use crate::limits::{EVENTS_MAX, LEAVE, TICK};
use crate::names::Name;
use crate::operator::MemberStatus;
use crate::order::{Order, Service};
use crate::parts::{Receiving, Sending};
use crate::peers::{Inbox, Mailbox, Peers};
use crate::rpc::Lines;
use crate::schema::translate::Translator;
use crate::store::{self, Submission};
use crate::wire;
use broker_core::cluster::message::{Ending, Input};
use broker_core::cluster::types::{Owner, Revision};
use broker_core::cluster::{self, Cluster, limits};
use broker_core::time::Now;
use control::capacity::Capacity;
use control::meta::Meta;
use control::orders::Orders;
use control::{Control, Told};
use handle::Command;
pub use handle::{
    Handle, InquirySender, Inspection, Inspector, NodeState, ParcelSender, StartError,
};
use keeping::Keeping;
use log::trouble::Strange;
use news::Known;
use outputs::Changes;
use post::hosts::{self, Hosts};
use records::Records;
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Starts nodes.
#[derive(Debug)]
pub struct Driver;

impl Driver {
    /// Starts a node on a thread of its own. `peers` makes what carries messages to other nodes, which puts into the
    /// mailbox what arrives; it is called on that thread.
    ///
    /// etcd need not answer: a node that starts without it serves nothing until it does.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<S: Service, P: Peers>(
        config: Config,
        service: S,
        peers: impl FnOnce(Mailbox) -> P + Send + 'static,
    ) -> Result<Handle, StartError> {
        let cluster = Name::new(&config.cluster).ok_or(StartError::Name("cluster"))?;
        let me = Name::new(&config.node).ok_or(StartError::Name("node"))?;
        if config.etcd.endpoints.is_empty() {
            return Err(StartError::NoEndpoint);
        }
        let drawn = u32::from_le_bytes(random()?);
        let opened = Directory::open(&config.directory, drawn);
        let (directory, mut kept) = opened.map_err(StartError::Directory)?;
        if config.accept_etcd {
            kept.forget();
        }
        let seed = u64::from_le_bytes(random()?);
        let (commands, inbox) = mpsc::channel(crate::limits::MAIL_MAX);
        let (changes, submitted) = store::queue();
        let valid_until = Arc::new(AtomicU64::new(0));
        let published = Arc::clone(&valid_until);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let body = move || {
            let running = async move {
                let (mailbox, mail) = Mailbox::new();
                let peers = peers(mailbox);
                let translator = Translator::new(&config, &cluster, me);
                let parts = Parts {
                    config,
                    service,
                    peers,
                    translator,
                    directory,
                    kept,
                    seed,
                    published,
                };
                run(parts, inbox, mail, submitted).await;
            };
            LocalSet::new().block_on(&runtime, running);
            // A name that is being resolved does not keep the process from its end.
            runtime.shutdown_timeout(LEAVE);
        };
        let thread = Builder::new().name("cluster".into()).spawn(body);
        let thread = thread.map_err(StartError::System)?;
        Ok(Handle::new(commands, changes, valid_until, thread))
    }
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}

/// What a node is made of.
struct Parts<S, P> {
    config: Config,
    service: S,
    peers: P,
    translator: Translator,
    directory: Directory,
    kept: Kept,
    seed: u64,
    published: Arc<AtomicU64>,
}

/// The node.
struct Node<S: Service, P> {
    cluster: Cluster,
    settings: cluster::Config,
    translator: Translator,
    /// Nodes whose keys the core has.
    named: usize,
    service: S,
    peers: P,
    control: Control,
    capacity: Capacity,
    records: Records,
    meta: Meta,
    keeping: Keeping,
    events: mpsc::Sender<Event>,
    inputs: VecDeque<Input>,
    /// Given to the core with the next tick.
    delayed: Vec<Input>,
    changes: Changes,
    stuck: bool,
    ending: Option<Ending>,
    published: Arc<AtomicU64>,
    known: Known,
    hosts: Hosts,
    orders: Orders,
    strange: Strange,
    sending: Sending,
    receiving: Receiving,
}

/// What the tasks of the node report.
#[derive(Debug)]
enum Event {
    /// An attempt to connect has ended.
    Connected(Which, u32, Result<Lines, Box<str>>),
    /// Of the connection for leases, the watch and slots.
    Control(control::Event),
    /// Of the connection for records.
    Records(records::Event),
    /// The meta key was read or written, over this connection.
    Meta(u32, Told),
    /// The report about this order was written, or a report was not.
    Reported(Option<Revision>),
    /// Where the name of a host leads.
    LookedUp(Box<str>, hosts::Found),
    /// The report of a member of etcd, asked over this connection.
    Measured(u32, Result<MemberStatus, Box<str>>),
    /// The data directory was written.
    Kept(Result<(), Box<str>>),
}

/// The two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Control,
    Records,
}

async fn run<S: Service, P: Peers>(
    parts: Parts<S, P>,
    mut commands: mpsc::Receiver<Command>,
    mut mail: Inbox,
    mut changes: mpsc::Receiver<Submission>,
) {
    let (events, mut happened) = mpsc::channel(EVENTS_MAX);
    let mut node = Node::new(parts, events);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while node.ending.is_none() {
        tokio::select! {
            _ = ticks.tick() => node.tick(),
            Some(event) = happened.recv() => node.event(event),
            Some(mail) = mail.recv() => node.mail(&mail),
            Some(change) = changes.recv(), if node.records.has_room() => node.submit(change),
            command = commands.recv() => match command {
                Some(command) => node.command(command),
                None => break,
            },
        }
        node.settle();
    }
    changes.close();
    while let Ok(change) = changes.try_recv() {
        node.refuse_change(&change);
    }
    node.end_writes();
    node.log_slots();
    let goodbyes = node.peers.finish();
    // The lease is given back, so that others need not wait for its end.
    let last = async {
        while !node.control.is_idle() {
            let Some(event) = happened.recv().await else {
                return;
            };
            node.event(event);
        }
    };
    let _ = timeout(LEAVE, async { tokio::join!(last, goodbyes) }).await;
    if let Some(ending) = node.ending {
        node.service.order(Order::Exit(ending));
    }
}

impl<S: Service, P: Peers> Node<S, P> {
    fn new(parts: Parts<S, P>, events: mpsc::Sender<Event>) -> Self {
        let Parts {
            config,
            mut translator,
            kept,
            seed,
            ..
        } = parts;
        let me = translator.me().clone();
        let node = translator
            .names
            .number(&me)
            .expect("this node is the first in the list");
        let settings = cluster::Config {
            me: Owner {
                node,
                incarnation: kept.incarnation(),
            },
            slots: limits::SLOTS,
            ttl_ms: config.ttl_ms,
            memory: kept.memory(),
            seed,
        };
        let options = Arc::new(config.etcd);
        let first = usize::try_from(seed % 1_024).unwrap_or(0);
        let at = Instant::now();
        let control = Link::new(Arc::clone(&options), first, at);
        let records = Link::new(options, first + 1, at);
        Self {
            cluster: Cluster::new(&settings, now()),
            settings,
            translator,
            named: 0,
            service: parts.service,
            peers: parts.peers,
            control: Control::new(control, config.ttl_ms),
            capacity: Capacity::new(config.etcd_quota_bytes),
            records: Records::new(records, settings.me.incarnation),
            meta: Meta::new(&kept),
            keeping: Keeping::new(parts.directory, kept),
            events,
            inputs: VecDeque::new(),
            delayed: Vec::new(),
            changes: Changes::default(),
            stuck: false,
            ending: None,
            published: parts.published,
            known: Known::default(),
            hosts: Hosts::default(),
            orders: Orders::default(),
            strange: Strange::default(),
            sending: Sending::default(),
            receiving: Receiving::default(),
        }
    }

    fn tick(&mut self) {
        self.inputs.extend(self.delayed.drain(..));
        self.inputs.push_back(Input::Tick { stuck: self.stuck });
        self.watch_over_links();
        self.connect(Which::Control);
        self.connect(Which::Records);
        self.ask_meta();
        self.look_up();
        self.measure();
        self.expire_writes();
        self.send_parts_again();
        self.log_slots();
        self.report();
        self.remember();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(which, generation, result) => {
                self.connected(which, generation, result);
            }
            Event::Control(event) => self.control_event(event),
            Event::Records(event) => self.records_event(event),
            Event::Meta(generation, told) => self.meta_told(generation, told),
            Event::Reported(written) => self.reported(written),
            Event::LookedUp(name, found) => self.looked_up(&name, found),
            Event::Measured(generation, told) => self.measured(generation, told),
            Event::Kept(result) => self.keeping.written(result),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Drain => self.inputs.push_back(Input::Drain),
            Command::Rebalance => self.inputs.push_back(Input::Rebalance),
            Command::Stuck(stuck) => self.stuck = stuck,
            Command::Parcel(to, parcel, bytes) => self.send_parcel(to, parcel, bytes),
            Command::Inquiry(of, number, bytes) => {
                self.tell_named(&of, &wire::Message::Inquiry(number, bytes));
            }
            Command::Reply(to, number, bytes) => {
                self.tell_named(&to, &wire::Message::Reply(number, bytes));
            }
            Command::Inspect(reply) => {
                // Nobody waits if the caller gave up.
                let _ = reply.send(self.inspection());
            }
        }
    }

    /// Gives the core everything that waits, and does what it wants.
    fn settle(&mut self) {
        self.obey();
        self.give_keys();
        while let Some(input) = self.inputs.pop_front() {
            self.cluster.handle(input, now());
            while let Some(output) = self.cluster.poll_output() {
                self.output(output);
            }
        }
        self.send_writes();
        self.publish();
    }

    /// The core knows nodes by numbers of this process: it gets what all nodes have in common.
    fn give_keys(&mut self) {
        let names = self.translator.names.all().skip(self.named);
        for (node, name) in names {
            self.cluster.set_key(node, name.key());
            self.named += 1;
        }
    }

    /// Connects if it is time.
    fn connect(&mut self, which: Which) {
        let link = match which {
            Which::Control => &mut self.control.link,
            Which::Records => &mut self.records.link,
        };
        let Some((generation, attempt)) = link.attempt(Instant::now()) else {
            return;
        };
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let result = attempt.await;
            let _ = events
                .send(Event::Connected(which, generation, result))
                .await;
        });
    }

    fn connected(&mut self, which: Which, generation: u32, result: Result<Lines, Box<str>>) {
        let link = match which {
            Which::Control => &mut self.control.link,
            Which::Records => &mut self.records.link,
        };
        let endpoint = link.endpoint().to_owned();
        let failed = link.connected(generation, result, Instant::now());
        let trouble = match which {
            Which::Control => &mut self.control.trouble,
            Which::Records => &mut self.records.trouble,
        };
        if let Some(why) = failed {
            trouble.begins(&format!("{endpoint}: {why}"));
        } else if which == Which::Records && self.records.link.up().is_some() {
            // Nothing need be asked over it for hours.
            trouble.ends();
        }
        self.ask_meta();
    }
}

/// Reports to the node over its channel: what each task is given.
fn reporter<T: 'static>(
    events: &mpsc::Sender<Event>,
    name: impl Fn(T) -> Event + 'static,
) -> impl AsyncFn(T) + 'static {
    let shared = Rc::new((events.clone(), name));
    async move |what| {
        let (events, name) = &*shared;
        let _ = events.send(name(what)).await;
    }
}

/// The clock of leases and silence: monotonic, and goes on while the machine sleeps.
pub(crate) fn now() -> Now {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Now(seconds * 1_000 + nanoseconds / 1_000_000)
}
