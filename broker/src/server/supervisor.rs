//! The interface to the service manager: notifications (sd_notify(3)) and the descriptor store.
//!
//! A notification is a datagram of `NAME=value` lines, sent to the socket named in `NOTIFY_SOCKET`. If this variable is
//! not set, nothing is sent. A notification with `FDSTORE=1` makes the manager keep the attached descriptors even while
//! no process of the service is running, and pass them to the next process (`FileDescriptorStoreMax=` in
//! systemd.service(5), sd_listen_fds(3)).
#![expect(
    unsafe_code,
    reason = "takes descriptors that the process was started with"
)]

use crate::side;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::{env, iter, process};

pub(crate) struct Supervisor {
    to: Option<(UnixDatagram, SocketAddrUnix)>,
    /// Watchdog timeout. The manager kills the process if it sends no keepalive for this long.
    watchdog: Option<Duration>,
    /// Maximum number of descriptors that the manager keeps. This is 0 if the manager has no descriptor store.
    pub(crate) store_max: usize,
    /// Whether the manager keeps the listening sockets open during a restart.
    pub(crate) keeps_listeners: bool,
}

impl Supervisor {
    pub(crate) fn of_environment() -> Self {
        let watchdog = watchdog(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
            process::id(),
        );
        let mut supervisor = Self::new(env::var_os("NOTIFY_SOCKET"), watchdog);
        // systemd has set this variable since version 254. With older versions, `Environment=` in the unit sets it.
        let store_max = env::var("FDSTORE").ok().and_then(|max| max.parse().ok());
        supervisor.store_max = store_max.filter(|_| supervisor.to.is_some()).unwrap_or(0);
        supervisor
    }

    fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let to = socket.and_then(|socket| match open(&socket) {
            Ok(to) => Some(to),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET = {socket:?}: the service manager cannot be notified");
                None
            }
        });
        if watchdog.is_some_and(|limit| limit < WATCHDOG_MIN) {
            tracing::warn!("WatchdogSec below {WATCHDOG_MIN:?} would end a healthy broker");
        }
        Self {
            to,
            watchdog,
            store_max: 0,
            keeps_listeners: false,
        }
    }

    /// Reports that all listeners accept connections, or that a reload is complete.
    pub(crate) fn ready(&self) {
        self.tell("READY=1", &[]);
    }

    /// Reports that a reload is starting. Must be followed by [`Self::ready`].
    pub(crate) fn reloading(&self) {
        let now = side::monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"), &[]);
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1", &[]);
    }

    /// Sends a watchdog keepalive. Must be called more often than once per watchdog timeout.
    pub(crate) fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell("WATCHDOG=1", &[]);
        }
    }

    /// Makes the manager keep these descriptors, in addition to those that it already keeps under this name. Returns
    /// `false` if the manager cannot be notified.
    pub(crate) fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        let text = format!("FDSTORE=1\nFDNAME={name}");
        let mut parts = descriptors.chunks(DESCRIPTORS_PER_DATAGRAM);
        parts.all(|part| self.tell(&text, part))
    }

    pub(crate) fn discard(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]);
    }

    fn tell(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        let Some((socket, addr)) = &self.to else {
            return false;
        };
        let mut space = [MaybeUninit::uninit(); ANCILLARY_BYTES];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let text = [IoSlice::new(text.as_bytes())];
        let sent = sendmsg_addr(socket, addr, &text, &mut ancillary, SendFlags::empty());
        if let Err(error) = &sent {
            tracing::debug!(%error, "the service manager could not be notified");
        }
        sent.is_ok()
    }
}

/// Opens the socket at a path. A path that starts with `@` refers to the abstract namespace.
fn open(socket: &OsStr) -> io::Result<(UnixDatagram, SocketAddrUnix)> {
    let addr = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        _ => SocketAddrUnix::new(socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(TELL_MAX))?;
    Ok((socket, addr))
}

/// Takes the descriptors that the manager passed to this process, with their names. Each one can be taken only once.
pub(crate) fn passed() -> Vec<(String, OwnedFd)> {
    let [pid, count, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
        .map(|name| env::var(name).unwrap_or_default());
    if pid.parse() != Ok(process::id()) {
        return Vec::new(); // none were passed, or the variables are inherited and meant for another process
    }
    let Ok(wanted) = count.parse() else {
        tracing::warn!("LISTEN_FDS = {count:?}: must be the number of descriptors passed");
        return Vec::new();
    };
    let names = names.split(':').chain(iter::repeat("unknown"));
    let numbers = PASSED_FROM..PASSED_FROM + PASSED_MAX;
    let taken = numbers.zip(names).take(wanted);
    let taken = taken.filter_map(|(number, name)| Some((name.to_owned(), take(number)?)));
    let taken: Vec<_> = taken.collect();
    if taken.len() != wanted {
        let found = taken.len();
        tracing::warn!("LISTEN_FDS = {wanted}: {found} descriptors were passed");
    }
    taken
}

/// Takes ownership of a descriptor that was already open when the process started. Returns `None` if `number` is not
/// such a descriptor.
fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the call only queries a descriptor number, which need not be open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return None;
    }
    // SAFETY: the descriptor is open and predates the process, which opens its own descriptors with close-on-exec. The
    // flag set below prevents a later call from taking it again.
    let taken = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&taken, FdFlags::CLOEXEC).ok()?;
    Some(taken)
}

/// Returns the watchdog timeout, or `None` if this process has no watchdog. Source: sd_watchdog_enabled(3).
fn watchdog(microseconds: Option<&str>, watched: Option<&str>, own: u32) -> Option<Duration> {
    if watched.is_some_and(|watched| watched.parse() != Ok(own)) {
        return None;
    }
    let microseconds: u64 = microseconds?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

/// Minimum watchdog timeout. Keepalives are sent once a second, but may be delayed on a busy machine.
const WATCHDOG_MIN: Duration = Duration::from_secs(3);
/// Timeout for sending a notification. A manager that hangs, with a full queue, must not block this process.
const TELL_MAX: Duration = Duration::from_millis(100);
/// Maximum number of descriptors that the kernel accepts in a datagram (`SCM_MAX_FD`).
const DESCRIPTORS_PER_DATAGRAM: usize = 253;
/// Size in bytes of a datagram's descriptors, including the control header.
const ANCILLARY_BYTES: usize = 2048;
/// The first descriptor that the manager passes (`SD_LISTEN_FDS_START`).
const PASSED_FROM: RawFd = 3;
/// Maximum number of descriptors to examine, regardless of `LISTEN_FDS`. All listeners on all shards together need
/// fewer.
const PASSED_MAX: RawFd = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::fs::File;
    use std::io::{IoSliceMut, Read, Write, pipe};
    use std::os::fd::{AsFd, IntoRawFd};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    #[test]
    fn a_manager_by_path_or_by_name_is_notified() {
        let id = std::process::id();
        let path = env::temp_dir().join(format!("heliograph-notify-{id}"));
        let _ = std::fs::remove_file(&path);
        let name = format!("heliograph-notify-test-{id}");
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into()),
            (
                UnixDatagram::bind_addr(&named).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            manager
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut supervisor = Supervisor::new(Some(socket), None);
            supervisor.alive();
            supervisor.ready();
            supervisor.watchdog = Some(WATCHDOG_MIN);
            supervisor.alive();
            supervisor.reloading();
            supervisor.stopping();
            let told = || {
                let mut text = [0; 128];
                let length = manager.recv(&mut text).unwrap();
                String::from_utf8(text[..length].to_vec()).unwrap()
            };
            assert_eq!(told(), "READY=1", "no watchdog, no sign of life");
            assert_eq!(told(), "WATCHDOG=1");
            let reloading = told();
            let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
            assert!(
                since.unwrap().parse::<u64>().unwrap() > 0,
                "since the machine's start: {reloading}"
            );
            assert_eq!(told(), "STOPPING=1");
        }
        std::fs::remove_file(&path).unwrap();
        let nobody = Supervisor::new(Some(path.into()), Some(WATCHDOG_MIN));
        nobody.ready();
        Supervisor::new(None, None).ready();
    }

    #[test]
    fn the_watchdog_is_ours_or_not() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("8"), 7), None);
        for none in [None, Some("0"), Some(""), Some("-1"), Some("soon")] {
            assert_eq!(watchdog(none, None, 7), None, "{none:?}");
        }
    }

    /// Returns the text and the descriptors that a manager receives.
    fn received(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
        let (mut text, mut space) = ([0; 128], [MaybeUninit::uninit(); ANCILLARY_BYTES]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(
            manager,
            &mut [IoSliceMut::new(&mut text)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let bytes = message.unwrap().bytes;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        (
            String::from_utf8_lossy(&text[..bytes]).into_owned(),
            descriptors,
        )
    }

    #[test]
    fn descriptors_travel_with_their_name_as_many_as_the_kernel_takes_at_a_time() {
        let name = format!("heliograph-store-test-{}", process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&addr).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let supervisor = Supervisor::new(Some(format!("@{name}").into()), None);
        let (reader, mut writer) = pipe().unwrap();
        let many = [reader.as_fd(); DESCRIPTORS_PER_DATAGRAM + 1];
        assert!(supervisor.store("listen-a", &many));
        supervisor.discard("listen-a");
        let (text, first) = received(&manager);
        assert_eq!(text, "FDSTORE=1\nFDNAME=listen-a");
        assert_eq!(first.len(), DESCRIPTORS_PER_DATAGRAM);
        let (again, mut last) = received(&manager);
        assert_eq!((again, last.len()), (text, 1));
        let (text, none) = received(&manager);
        assert_eq!(text.as_str(), "FDSTOREREMOVE=1\nFDNAME=listen-a");
        assert_eq!(none.len(), 0);
        writer.write_all(b"x").unwrap();
        let mut byte = [0];
        File::from(last.remove(0)).read_exact(&mut byte).unwrap();
        assert!(!Supervisor::new(None, None).store("listen-a", &many));
    }

    #[test]
    fn a_descriptor_is_taken_once_and_only_if_it_outlived_an_exec() {
        let (reader, _writer) = pipe().unwrap();
        let number = OwnedFd::from(reader).into_raw_fd();
        assert!(take(number).is_none(), "closed on exec: our own");
        // SAFETY: this test owns the descriptor with this number.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }, 0);
        let taken = take(number).unwrap();
        assert!(take(number).is_none(), "twice");
        drop(taken);
        assert!(take(RawFd::MAX).is_none(), "not open");
    }
}
