//! The file descriptor store of a service manager (`FileDescriptorStoreMax=` in systemd.service(5)). The store outlives
//! the process that put descriptors into it.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// The descriptor store of one service, together with its notification socket.
#[derive(Debug)]
pub struct DescriptorStore {
    socket: String,
    max: usize,
    kept: Arc<Mutex<Kept>>,
}

type Kept = Vec<(String, OwnedFd)>;

impl DescriptorStore {
    /// Creates an empty store that holds at most `max` descriptors.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let (socket, addr) = fresh_name();
        let notifications = UnixDatagram::bind_addr(&addr).expect("a free name");
        let kept = Arc::new(Mutex::new(Kept::new()));
        let store = Arc::clone(&kept);
        thread::spawn(move || while obey(&notifications, &store, max) {});
        Self { socket, max, kept }
    }

    /// Returns the names of the stored descriptors in sorted order, one name per descriptor.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let kept = lock(&self.kept);
        let mut names: Vec<_> = kept.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Stores a descriptor as if a process of the service had sent it.
    pub fn keep(&self, name: &str, descriptor: impl Into<OwnedFd>) {
        lock(&self.kept).push((name.into(), descriptor.into()));
    }

    /// Closes all descriptors, as happens when a service is stopped and not restarted.
    pub fn clear(&self) {
        lock(&self.kept).clear();
    }

    /// Creates a command that executes this program the way a service manager does, passing it all stored descriptors.
    /// The caller adds the arguments. Requires python3.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let (name, addr) = fresh_name();
        let listener = UnixListener::bind_addr(&addr).expect("a free name");
        let kept = Arc::clone(&self.kept);
        thread::spawn(move || {
            let (mut link, _) = listener.accept().expect("the command connects");
            let kept = lock(&kept);
            let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
            let text = format!("{}\n", names.join(":"));
            let descriptors: Vec<_> = kept.iter().map(|(_, kept)| kept.as_fd()).collect();
            if descriptors.is_empty() {
                return link.write_all(text.as_bytes()).expect("taken");
            }
            let mut space = [MaybeUninit::uninit(); ANCILLARY_BYTES];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            let text = [IoSlice::new(text.as_bytes())];
            sendmsg(&link, &text, &mut ancillary, SendFlags::empty()).expect("taken");
        });
        let mut command = Command::new("python3");
        command.arg("-c").arg(PASS).arg(name).arg(program);
        command
            .env("NOTIFY_SOCKET", format!("@{}", self.socket))
            .env("FDSTORE", self.max.to_string())
            .env_remove("RUST_LOG");
        command
    }
}

impl Drop for DescriptorStore {
    fn drop(&mut self) {
        // An empty datagram makes the store's thread exit.
        let addr = SocketAddr::from_abstract_name(&self.socket);
        let socket = UnixDatagram::unbound();
        let _ = socket.and_then(|socket| socket.send_to_addr(&[], &addr?));
        self.clear();
    }
}

/// Receives one notification and applies it. Returns `false` if the notification is empty.
fn obey(notifications: &UnixDatagram, kept: &Mutex<Kept>, max: usize) -> bool {
    let (mut text, mut space) = ([0; 4096], [MaybeUninit::uninit(); ANCILLARY_BYTES]);
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let text_of = &mut [IoSliceMut::new(&mut text)];
    let received = recvmsg(
        notifications,
        text_of,
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    );
    let bytes = received.expect("a socket that is open").bytes;
    let mut kept = lock(kept);
    let text = String::from_utf8_lossy(&text[..bytes]).into_owned();
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
    let name = name.unwrap_or("stored");
    if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
        kept.retain(|(of, _)| of != name);
    }
    let is_store = text.lines().any(|line| line == "FDSTORE=1");
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            let room = max.saturating_sub(kept.len());
            let stored = descriptors.filter(|_| is_store).take(room);
            kept.extend(stored.map(|descriptor| (name.to_owned(), descriptor)));
        }
    }
    bytes > 0
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().expect("nobody panics with it")
}

fn fresh_name() -> (String, SocketAddr) {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("heliograph-manager-{}-{number}", process::id());
    let addr = SocketAddr::from_abstract_name(&name).expect("a short name");
    (name, addr)
}

const ANCILLARY_BYTES: usize = 2048;

const PASS: &str = r#"
import fcntl, os, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect("\0" + sys.argv[1])
    names, passed, _, _ = socket.recv_fds(link, 65536, 253)
high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 512) for fd in passed]
for fd in passed:
    os.close(fd)
for number, fd in enumerate(high, 3):
    os.dup2(fd, number)
if high:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names.decode().strip())
os.execv(sys.argv[2], sys.argv[2:])
"#;
