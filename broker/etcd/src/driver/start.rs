//! The start of a node, on a thread of its own, and its end.

use crate::config::Config;
use crate::directory::Directory;
use crate::driver::event::{Event, Events};
use crate::driver::handle::{Command, Handle, StartError};
use crate::driver::node::{Node, Parts};
use crate::limits::{LEAVE, MAIL_MAX, TICK};
use crate::names::Name;
use crate::peers::{Inbox, Mailbox, Peers};
use crate::schema::translate::Translator;
use crate::service::Service;
use crate::store::Submission;
use crate::system::random;
use std::thread::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

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
        let draw = || random().map(u32::from_le_bytes).ok_or(StartError::Random);
        let opened = Directory::open(&config.directory, [draw()?, draw()?]);
        let (directory, mut kept) = opened.map_err(StartError::Directory)?;
        if config.accept_etcd {
            kept.forget();
        }
        let seed = u64::from_le_bytes(random().ok_or(StartError::Random)?);
        let (commands, inbox) = mpsc::channel(MAIL_MAX);
        let (changes, submitted) = crate::store::queue();
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
                };
                let (events, happened) = Events::channel();
                let node = Node::new(parts, &events);
                run(node, happened, inbox, mail, submitted).await;
            };
            LocalSet::new().block_on(&runtime, running);
            // A name that is being resolved does not keep the process from its end.
            runtime.shutdown_timeout(LEAVE);
        };
        let thread = Builder::new().name("cluster".into()).spawn(body);
        let thread = thread.map_err(StartError::System)?;
        Ok(Handle::new(commands, changes, thread))
    }
}

async fn run<S: Service, P: Peers>(
    mut node: Node<S, P>,
    mut happened: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<Command>,
    mut mail: Inbox,
    mut changes: mpsc::Receiver<Submission>,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !node.has_ended() {
        tokio::select! {
            _ = ticks.tick() => node.tick(),
            Some(event) = happened.recv() => node.event(event),
            Some(mail) = mail.recv() => node.mail(mail),
            Some(change) = changes.recv(), if node.has_room() => node.submit(change),
            command = commands.recv() => match command {
                Some(command) => node.command(command),
                None => break,
            },
        }
        node.settle();
    }
    changes.close();
    while let Ok(change) = changes.try_recv() {
        node.refuse(&change);
    }
    let goodbyes = node.close();
    // The lease is given back, so that others need not wait for its end.
    let last = async {
        while !node.is_idle() {
            let Some(event) = happened.recv().await else {
                return;
            };
            node.event(event);
        }
    };
    let _ = timeout(LEAVE, async { tokio::join!(last, goodbyes) }).await;
    node.exit();
}
