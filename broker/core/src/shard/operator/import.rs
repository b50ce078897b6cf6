//! Channels that an operator brings while the process runs: each shard keeps the names of its own, the store commits
//! all of them at once, and its report makes them ([`Directory::committed`]).

use crate::channel::Life;
use crate::id::{ChannelKey, Identity};
use crate::limits::devices::IMPORTED_MAX;
use crate::placement::Home;
use crate::record::Record;
use crate::registry::StoreError;
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::operator::inspect::Reply;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;
use codec::control::ErrorKind;
use std::sync::Arc;

/// The part of a shard in an import: of the channels that live there.
#[derive(Clone, Debug, Default)]
pub struct ImportPart {
    /// Names that are kept until the store reports their creation: places in the list, and the keys for the report.
    pub kept: Vec<(usize, ChannelKey)>,
    /// Channels that are there under a name of the list.
    pub there: Vec<Record>,
    /// Channels that cannot be made now: places in the list, and why.
    pub faults: Vec<(usize, &'static str)>,
}

/// Keeps the names of a list that live here and are free.
pub(crate) fn begin(
    sockets: &Sockets,
    directory: &mut Directory,
    records: &[Record],
    at: Moment,
) -> Reply {
    let mut part = ImportPart::default();
    for (place, record) in records.iter().enumerate().take(IMPORTED_MAX) {
        let identity = Identity::of(&record.arn);
        if sockets.placement().home(&identity, at.now) != Home::Here(directory.shard()) {
            continue;
        }
        match directory.named_channel(&identity) {
            Some(channel) if channel.state == Life::Active => {
                part.there.push(channel.record.clone());
            }
            Some(_) => part.faults.push((place, CHANGING)),
            None => match directory.keep_name(record, &identity, at) {
                Ok(key) => part.kept.push((place, key)),
                Err(fault) => part.faults.push((place, fault)),
            },
        }
    }
    Reply::Import(Box::new(part))
}

/// Gives free the names that were kept.
pub(crate) fn withdraw(
    directory: &mut Directory,
    books: &mut Books,
    todo: &mut TodoList,
    records: &Arc<[Record]>,
    at: Moment,
) -> Reply {
    for record in records.iter().take(IMPORTED_MAX) {
        let key = directory.key_of(&Identity::of(&record.arn));
        if let Some(key) = key.filter(|key| directory.is_name_kept(*key)) {
            directory.committed(books, todo, key, Err(StoreError::Busy), at);
        }
    }
    Reply::Done
}

impl Directory {
    /// Enters a channel of an operator into the tables, to be created when the store reports it.
    fn keep_name(
        &mut self,
        record: &Record,
        identity: &Identity,
        at: Moment,
    ) -> Result<ChannelKey, &'static str> {
        let kind = ErrorKind::ServiceUnavailable;
        self.has_bytes(identity.tenant(), 0, record.bytes(), kind)
            .map_err(|_| NO_ROOM)?;
        let key = self.insert_channel(record.clone(), Life::Creating);
        let key = key.ok_or(NO_ROOM)?;
        self.note_created(record.created.min(at.wall));
        self.creation_is_kept(key);
        Ok(key)
    }
}

const CHANGING: &str = "a channel of this name is being created or deleted: try again";
const NO_ROOM: &str = "there is no room for it: see [limits] channels, record_bytes_total and record_bytes_per_account";
