//! The io_uring engine: setup, enter, completions and drop.
#![expect(
    unsafe_code,
    reason = "entries carry addresses; each one pushed points at memory that the ring owns until it completes"
)]

use crate::completion::{Completion, Flight, Op, Received};
use crate::patience::Patience;
use crate::pool::Pool;
use crate::ring::RingSettings;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, thread};

/// An io_uring with its receive buffers and the buffers of its sends.
///
/// Not `Send`, because the kernel only accepts calls from the thread that created the ring (`SINGLE_ISSUER`). Dropping
/// it cancels all armed operations and waits for them. Memory that the kernel does not release is leaked rather than
/// freed.
pub(crate) struct Uring {
    pub(crate) io: ManuallyDrop<IoUring>,
    pub(crate) pool: ManuallyDrop<Pool>,
    pub(crate) flight: ManuallyDrop<Flight>,
    /// Duration of the armed timeout, which the kernel reads when the entry is submitted.
    pub(crate) span: ManuallyDrop<Box<types::Timespec>>,
    #[expect(
        clippy::vec_box,
        reason = "the kernel is given their addresses, so they may not move with the vector"
    )]
    pub(crate) addresses: ManuallyDrop<Vec<Box<socket2::SockAddr>>>,
    pub(crate) due: Option<Instant>,
    /// Entries that did not fit into the submission queue and wait for the next enter. Their number is bounded, because
    /// each of them is counted in `armed`.
    waiting: VecDeque<squeue::Entry>,
    pub(crate) patience: Patience,
    grown: bool,
    #[cfg(test)]
    refusals: VecDeque<i32>,
    pub(crate) armed: u64,
    /// Makes the ring neither `Send` nor `Sync`, since `SINGLE_ISSUER` binds it to its thread.
    _thread: PhantomData<*const ()>,
}

impl Uring {
    pub(crate) fn new(settings: &RingSettings) -> io::Result<Self> {
        let io = builder(settings.completions).build(settings.submissions)?;
        let mut pool = Pool::register(&io, settings.buffers, settings.buffer_bytes)?;
        pool.offer(settings.buffers_at_start.max(1));
        Ok(Self {
            io: ManuallyDrop::new(io),
            pool: ManuallyDrop::new(pool),
            flight: ManuallyDrop::new(Flight::default()),
            span: ManuallyDrop::new(Box::new(types::Timespec::new())),
            addresses: ManuallyDrop::new(Vec::new()),
            due: None,
            waiting: VecDeque::new(),
            patience: Patience::default(),
            grown: false,
            #[cfg(test)]
            refusals: VecDeque::new(),
            armed: 0,
            _thread: PhantomData,
        })
    }

    pub(crate) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.io.completion().next()?;
            let (op, key) = Op::untag(entry.user_data());
            let (result, more) = (entry.result(), cqueue::more(entry.flags()));
            if !more {
                self.armed -= 1;
            }
            return Some(match op {
                Op::Accept => Completion::Accepted {
                    key,
                    socket: owned(result),
                    more,
                },
                Op::Receive => Completion::Received {
                    key,
                    received: self.received(result, cqueue::buffer_select(entry.flags())),
                    more,
                },
                Op::Send => {
                    let (key, bytes) = self.flight.land(key);
                    let result = checked(result).map(|count| count as usize);
                    Completion::Sent { key, bytes, result }
                }
                Op::Connect => Completion::Connected {
                    key,
                    result: checked(result).map(|_| ()),
                },
                Op::Bell => Completion::Rang { key, more },
                Op::Timeout => {
                    self.due = None;
                    Completion::TimedOut
                }
                Op::Quiet => continue,
            });
        }
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        !self.io.completion().is_empty()
    }

    pub(crate) fn add_buffers(&mut self) -> bool {
        if !self.grown {
            let offered = self.pool.buffers.offered;
            self.grown = self.pool.offer(offered.saturating_mul(2));
        }
        self.grown
    }

    pub(crate) fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.io.submitter().register_eventfd(eventfd.as_raw_fd())?;
        self.eventfd_off();
        Ok(())
    }

    pub(crate) fn eventfd_on(&mut self) {
        self.io.completion().enable_eventfd();
    }

    pub(crate) fn eventfd_off(&mut self) {
        self.io.completion().disable_eventfd();
    }

    fn received(&mut self, result: i32, buffer: Option<u16>) -> Received {
        match (checked(result), buffer) {
            (Ok(0), None) => Received::End,
            (Ok(len), Some(id)) if len > 0 => Received::Bytes(self.pool.buffers.lend(id, len)),
            // Never observed: the kernel took a buffer for EOF or an error. The buffer goes back unread.
            (Ok(_), Some(id)) => {
                let unread = self.pool.buffers.lend(id, 0);
                self.pool.give_back(unread);
                Received::End
            }
            (Ok(_), None) => Received::Failed(io::Error::other("bytes without a buffer")),
            (Err(error), buffer) => {
                if let Some(id) = buffer {
                    let unread = self.pool.buffers.lend(id, 0);
                    self.pool.give_back(unread);
                }
                match error.raw_os_error() {
                    Some(libc::ENOBUFS) => Received::NoBuffers,
                    Some(libc::ECANCELED) => Received::Cancelled,
                    Some(_) | None => Received::Failed(error),
                }
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let entry = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        // SAFETY: the entry has no pointers.
        unsafe { self.push(entry.user_data(Op::Quiet.tag(0))) };
        for _ in 0..DROP_ROUNDS {
            if self.armed == 0 || self.enter(1, Some(DROP_PATIENCE)).is_err() {
                break;
            }
            while self.next().is_some() {}
        }
        let quiet = self.armed == 0;
        // SAFETY: each field is dropped here, once, and not used again. The memory is freed after the ring that refers
        // to it, and only if the kernel has completed every entry that could use it.
        unsafe {
            ManuallyDrop::drop(&mut self.io);
            if quiet {
                ManuallyDrop::drop(&mut self.pool);
                ManuallyDrop::drop(&mut self.flight);
                ManuallyDrop::drop(&mut self.span);
                ManuallyDrop::drop(&mut self.addresses);
            }
        }
    }
}

/// Returns the engine's setup options. `TASKRUN_FLAG` is not set, since every event loop iteration enters the kernel
/// anyway.
pub(crate) fn builder(completions: u32) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(completions);
    builder
}

fn checked(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn owned(result: i32) -> io::Result<OwnedFd> {
    checked(result)?;
    // SAFETY: the kernel has just opened this descriptor for the process, and only this completion names it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

const DROP_ROUNDS: u32 = 20;
const DROP_PATIENCE: Duration = Duration::from_millis(100);

impl Uring {
    pub(crate) fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        self.fill();
        self.grown = false;
        // Does not wait for completions while entries wait for space in the queue.
        let want = if self.waiting.is_empty() { want } else { 0 };
        let count = u32::try_from(self.io.submission().len()).expect("the queue has a 32-bit size");
        let result = self.call(count, want, limit);
        if !self.has_submissions() {
            self.addresses.clear();
        }
        match result {
            Err(error) if refuses(&error) => self.bear(&error),
            result => {
                self.patience.renew();
                passes(result)
            }
        }
    }

    /// Handles a refusal by letting the kernel run its deferred work. The resulting completions may free the resource
    /// that the kernel lacked.
    fn bear(&mut self, refusal: &io::Error) -> io::Result<()> {
        match self.call(0, 0, None) {
            Err(error) if refuses(&error) => {}
            result => passes(result)?,
        }
        let has_completions = self.has_completions();
        let pause = self
            .patience
            .refused(refusal, has_completions, Instant::now())?;
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        Ok(())
    }

    fn call(&mut self, count: u32, want: u32, limit: Option<Duration>) -> io::Result<()> {
        #[cfg(test)]
        if let Some(errno) = self.refusals.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let limit = limit.map(types::Timespec::from);
        let mut args = types::SubmitArgs::new();
        if let Some(limit) = &limit {
            args = args.timespec(limit);
        }
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        // SAFETY: EXT_ARG takes a `SubmitArgs`, which lives until the call returns, as does `limit`.
        unsafe { self.io.submitter().enter(count, want, flags, Some(&args)) }.map(|_| ())
    }

    fn fill(&mut self) {
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the caller of `push` guarantees that the entry's pointers are valid.
            if unsafe { self.io.submission().push(entry) }.is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }

    pub(crate) fn has_submissions(&mut self) -> bool {
        !self.waiting.is_empty() || !self.io.submission().is_empty()
    }

    /// Queues an entry, and submits the queue if it is full. Entries that the kernel refuses wait for the next enter.
    ///
    /// # Safety
    /// All memory that the entry points to must stay in a field of this ring until the entry has completed or, if the
    /// kernel copies the data, until the entry has been submitted.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.armed += 1;
        // SAFETY: guaranteed by the caller.
        if self.waiting.is_empty() && unsafe { self.io.submission().push(&entry) }.is_ok() {
            return;
        }
        self.waiting.push_back(entry);
        if self.waiting.len() == 1 {
            // A permanent error occurs again at the next enter, which returns it to the caller.
            let _ = self.enter(0, None);
            self.fill();
        }
    }
}

fn refuses(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

fn passes(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod enter_tests {
    use super::{RingSettings, *};
    use crate::completion::{Completion, Key, Received};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const KEY: Key = Key::new(1);

    fn small() -> Uring {
        let settings = RingSettings {
            submissions: 2,
            completions: 4,
            buffers: 2,
            buffer_bytes: 64,
            ..RingSettings::default()
        };
        Uring::new(&settings).unwrap()
    }

    /// Arming must return even if the queue is full and the kernel accepts no entries.
    #[test]
    fn arming_does_not_wait_for_a_kernel_that_takes_nothing() {
        let mut ring = small();
        let pairs: Vec<_> = (0..10).map(|_| UnixStream::pair().unwrap()).collect();
        ring.refusals = [libc::EAGAIN; 1000].into();
        for ((_, theirs), bits) in pairs.iter().zip(0..) {
            ring.receive_once(theirs.as_fd(), Key::new(bits));
        }
        assert!(
            ring.refusals.len() > 990,
            "one try, not one after the other"
        );
        assert!(ring.has_submissions());
        ring.refusals.clear();
        for (ours, _) in &mut pairs.iter() {
            (&*ours).write_all(b"x").unwrap();
        }
        // All entries are submitted in order, even though the queue has room for only a fifth of them.
        for expected in 0..10 {
            let completion = next(&mut ring);
            let Completion::Received {
                key,
                received: Received::Bytes(lent),
                ..
            } = completion
            else {
                panic!("{completion:?}")
            };
            ring.pool.give_back(lent);
            assert_eq!(key, Key::new(expected));
        }
        assert!(!ring.has_submissions());
    }

    #[test]
    fn a_refused_enter_keeps_its_entries_and_serves_completions() {
        let mut ring = small();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ring.receive_once(theirs.as_fd(), KEY);
        ring.enter(0, None).unwrap();
        ours.write_all(b"one").unwrap();
        let (mut others, further) = UnixStream::pair().unwrap();
        ring.receive_once(further.as_fd(), Key::new(2));
        for errno in [libc::EAGAIN, libc::EBUSY] {
            ring.refusals = [errno].into();
            ring.enter(1, None).unwrap();
            assert!(ring.has_submissions(), "refused, and still there");
        }
        let Some(Completion::Received {
            key: KEY,
            received: Received::Bytes(lent),
            ..
        }) = ring.next()
        else {
            panic!("deferred work was run although nothing was taken")
        };
        ring.pool.give_back(lent);
        others.write_all(b"two").unwrap();
        assert!(matches!(next(&mut ring), Completion::Received { .. }));
    }

    #[test]
    fn a_kernel_that_refuses_for_good_ends_the_ring_with_its_reason() {
        let mut ring = small();
        // The first refusal was 10 s ago.
        let long_ago = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let error = io::Error::from_raw_os_error(libc::EAGAIN);
        ring.patience.refused(&error, false, long_ago).unwrap();
        ring.refusals = [libc::EAGAIN].into();
        let ended = ring.enter(0, None).unwrap_err();
        assert!(ended.to_string().contains("no entries for 10 s"), "{ended}");
        // Once the kernel accepts an entry, the time starts anew.
        ring.enter(0, None).unwrap();
        ring.refusals = [libc::EAGAIN].into();
        ring.enter(0, None).unwrap();
    }

    fn next(ring: &mut Uring) -> Completion {
        for _ in 0..100 {
            if let Some(completion) = ring.next() {
                return completion;
            }
            ring.enter(1, Some(Duration::from_millis(100))).unwrap();
        }
        panic!("no completion came");
    }
}
