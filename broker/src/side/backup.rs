//! `POST /backup`: streams a consistent snapshot of the registry, which may change during the backup.
//!
//! A blocking thread of the runtime reads the rows and buffers a few chunks. Shards are not involved. Only one backup
//! runs at a time. Its duration is limited, because the store retains the snapshot's pages until the backup ends.
//!
//! The stream contains the data that the inspector shows. If the request carries the admin token, the stream also
//! contains the key for temporary credentials. Without the token, the key is left out, since it can be used to forge
//! credentials. If no token is configured, `heliograph backup` reads the key file itself, with the permissions of the
//! user who runs it.

use crate::backup_stream::{self, Part};
use crate::presence_epoch;
use crate::side::admin::access::Access;
use crate::side::admin::http::Fault;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_core::Stream;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use store::Snapshot;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The data sources of a backup.
pub struct Backup {
    /// Takes a snapshot of the registry. Blocks until the next commit.
    pub snapshot: Box<dyn Fn() -> Result<Snapshot, String> + Send + Sync>,
    /// Reads `session.key`.
    pub session_key: Box<dyn Fn() -> io::Result<Zeroizing<String>> + Send + Sync>,
    /// The data directory.
    pub data_dir: PathBuf,
}

struct Backups {
    what: Backup,
    turn: Arc<Semaphore>,
}

impl Backups {
    fn new(what: Backup) -> Self {
        Self {
            what,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Starts a backup. Returns the first bytes of the stream, and the snapshot from which the rows are read.
    fn begin(&self, with_key: bool) -> Result<(Vec<u8>, Snapshot), String> {
        let mut head = backup_stream::MAGIC.to_vec();
        if with_key {
            let key = (self.what.session_key)();
            let key = key.map_err(|error| format!("session.key cannot be read: {error}"))?;
            backup_stream::put(&mut head, &Part::SessionKey(&key));
        }
        let snapshot = (self.what.snapshot)()?;
        Ok((head, snapshot))
    }
}

#[derive(Clone)]
struct BackupPage {
    backups: Arc<Backups>,
    access: Access,
}

pub(crate) fn routes(what: Backup, access: Access) -> Router {
    let backups = Arc::new(Backups::new(what));
    Router::new()
        .route("/backup", post(backup))
        .with_state(BackupPage { backups, access })
}

async fn backup(State(page): State<BackupPage>, headers: HeaderMap) -> Result<Response, Fault> {
    let BackupPage { backups, access } = page;
    let turn = Arc::clone(&backups.turn).try_acquire_owned();
    let turn = turn.map_err(|_| UNDER_WAY)?;
    let with_key = access.borne(&headers).is_some();
    let data_dir = std::path::absolute(&backups.what.data_dir).unwrap_or_default();
    let begun = tokio::task::spawn_blocking(move || -> Result<_, String> {
        let last =
            presence_epoch::kept(&backups.what.data_dir).map_err(|error| error.to_string())?;
        let (head, snapshot) = backups.begin(with_key)?;
        Ok((head, snapshot, last))
    })
    .await;
    let begun = begun.unwrap_or_else(|_| Err("the process is shutting down".into()));
    let (head, snapshot, last) =
        begun.map_err(|text| Fault(StatusCode::SERVICE_UNAVAILABLE, text.into()))?;
    let (to, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut send = |chunk| {
            let sent = runtime.block_on(timeout(STALL_MAX, to.send(chunk)));
            matches!(sent, Ok(Ok(())))
        };
        match pump(head, snapshot, &mut send) {
            Ok(channels) => tracing::info!(channels, "backup sent"),
            Err(error) => {
                tracing::warn!(%error, "a backup failed");
                send(Err(error));
            }
        }
        drop(turn);
    });
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    let mut response = (kind, Body::from_stream(Chunks(chunks))).into_response();
    let headers = response.headers_mut();
    if let Ok(path) = HeaderValue::from_bytes(data_dir.as_os_str().as_encoded_bytes()) {
        headers.insert(backup_stream::DATA_DIR_HEADER, path);
    }
    if let Some(epoch) = last {
        headers.insert(backup_stream::EPOCH_HEADER, epoch.into());
    }
    Ok(response)
}

const UNDER_WAY: Fault = Fault::new(StatusCode::TOO_MANY_REQUESTS, "another backup is under way");

/// Sends all rows of a snapshot. Returns the number of rows.
fn pump(
    head: Vec<u8>,
    mut snapshot: Snapshot,
    send: &mut impl FnMut(io::Result<Bytes>) -> bool,
) -> io::Result<u64> {
    let began = Instant::now();
    let (mut chunk, mut rows, mut more) = (head, 0, true);
    while more {
        let read = snapshot.read(|key, value| {
            backup_stream::put(&mut chunk, &Part::Row(key, value));
            rows += 1;
            chunk.len() < CHUNK_BYTES
        });
        more = read.map_err(io::Error::other)?;
        if !more {
            backup_stream::put(&mut chunk, &Part::End(rows));
        }
        if began.elapsed() > BACKUP_MAX {
            return Err(io::Error::other("it exceeded its time limit"));
        }
        if !send(Ok(std::mem::take(&mut chunk).into())) {
            return Err(io::Error::other("its reader stalled"));
        }
    }
    Ok(rows)
}

struct Chunks(mpsc::Receiver<io::Result<Bytes>>);

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Target chunk size in bytes. A chunk may exceed this size by up to one row.
const CHUNK_BYTES: usize = 64 * 1024;
/// Maximum number of buffered chunks. Even with rows of the maximum size, they take less than 1 MiB in total.
const CHUNKS_WAITING_MAX: usize = 4;
/// Maximum time that a chunk may wait for buffer space before the backup is aborted. The time is limited because the
/// store retains the snapshot's pages until the backup ends.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Maximum duration of a backup. A million channels take only a few seconds.
const BACKUP_MAX: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
impl Backup {
    pub(crate) fn none() -> Self {
        Self {
            snapshot: Box::new(|| Err(store::SnapshotError::Closed.to_string())),
            session_key: Box::new(|| Err(io::ErrorKind::NotFound.into())),
            data_dir: PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side;
    use store::Store;

    /// Creates a store of 20 MB, which is more than the buffers of a socket can hold.
    fn backups(name: &str) -> (Arc<Backups>, PathBuf) {
        let dir = std::env::temp_dir().join(format!("heliograph-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        store::create(&dir, &mut |insert| {
            (0..200).try_for_each(|number| insert(&format!("{number:04}"), &[7; 100_000]))
        })
        .unwrap();
        let store = Store::open(&dir).unwrap();
        let what = Backup {
            snapshot: Box::new(move || store.snapshot().map_err(|error| error.to_string())),
            data_dir: dir.clone(),
            ..Backup::none()
        };
        (Arc::new(Backups::new(what)), dir)
    }

    /// A backup buffers a few chunks while its reader is slow, and ends when the reader disconnects.
    #[test]
    fn a_reader_who_stops_is_waited_for_with_a_few_chunks_in_hand() {
        let (backups, dir) = backups("backup-chunks");
        let (head, snapshot) = backups.begin(false).unwrap();
        let mut sent = Vec::new();
        let ended = pump(head, snapshot, &mut |chunk| {
            sent.push(chunk.unwrap().len());
            sent.len() < 3
        });
        assert_eq!(ended.unwrap_err().to_string(), "its reader stalled");
        assert_eq!(sent.len(), 3);
        assert!(
            sent.iter().all(|bytes| *bytes < CHUNK_BYTES + 110_000),
            "{sent:?}"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// A second request is refused until the client of the first backup has read it.
    #[test]
    fn one_backup_at_a_time() {
        use crate::side::{History, HistoryStore, Shared, Shows, StatusBoard};
        use std::io::{Read, Write};
        use std::net::TcpStream;
        let (backups, dir) = backups("backup-turns");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let what = Arc::into_inner(backups).unwrap().what;
        let shows = Shows {
            hooks: None,
            providers: None,
            known: None,
            accounts: None,
            readers: crate::side::Readers::new(None),
            lan: None,
            tries: crate::side::Tries::default(),
            in_force: None,
            imports: None,
            refusals: side::Refusals::none(),
            troubled: Arc::default(),
            scrape: Box::new(|| None),
            inspect: Box::new(|_, _| Vec::new()),
            look: Box::new(Vec::new),
            history: Shared::new(History::new(0, Instant::now(), HistoryStore::default())),
            log: Arc::default(),
            backup: what,
            settings: Arc::default(),
            tokens: None,
            cluster: None,
            nodes: None,
            dev: None,
        };
        let ask = move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            let request = "POST /backup HTTP/1.0\r\nHost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            (stream, String::from_utf8(status.to_vec()).unwrap())
        };
        let asks = move || {
            let (mut first, status) = ask();
            assert_eq!(status, "HTTP/1.0 200");
            assert_eq!(ask().1, "HTTP/1.0 429");
            let mut rest = Vec::new();
            first.read_to_end(&mut rest).unwrap();
            assert!(rest.len() > 20_000_000, "{}", rest.len());
            // The first backup counts as running until shortly after its last byte.
            while ask().1 != "HTTP/1.0 200" {
                std::thread::yield_now();
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::spawn(crate::side::admin::serve(
                vec![listener],
                StatusBoard::default(),
                shows,
            ));
            tokio::task::spawn_blocking(asks).await.unwrap();
        });
        drop(runtime);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn all_rows_are_sent_with_their_end() {
        let (backups, dir) = backups("backup-rows");
        let (head, snapshot) = backups.begin(false).unwrap();
        let mut stream = Vec::new();
        let rows = pump(head, snapshot, &mut |chunk| {
            stream.extend_from_slice(&chunk.unwrap());
            true
        });
        assert_eq!(rows.unwrap(), 200);
        let mut reader = backup_stream::Reader::new(&stream[..]).unwrap();
        let mut seen = 0;
        let count = loop {
            match reader.next().unwrap() {
                Part::Row(_, value) => seen += value.len(),
                Part::End(count) => break count,
                Part::SessionKey(_) => panic!("nobody has shown the token"),
            }
        };
        assert_eq!((count, seen), (200, 20_000_000));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
