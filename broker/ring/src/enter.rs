//! From the caller to the kernel: entries queued, submitted, and kept while the kernel does not take them.
#![expect(
    unsafe_code,
    reason = "entries carry addresses; each one pushed points at memory that the ring owns until it completes"
)]

use crate::ring::Ring;
use io_uring::{EnterFlags, squeue, types};
use std::time::{Duration, Instant};
use std::{io, thread};

impl Ring {
    /// Submits what was armed, runs the kernel's deferred work, and waits until `want` completions are there or
    /// `limit` is over. `want == 0` does not wait. Completions appear only here.
    ///
    /// One call runs a bounded amount of deferred work: completions mean that another turn is due. So do
    /// [submissions](Self::has_submissions), which a kernel that is short of something leaves where they are.
    ///
    /// # Errors
    /// Only what ends a ring for good; a limit that is over, a signal and a busy kernel are not errors, unless it is
    /// busy for 10 s.
    pub fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        self.fill();
        self.grown = false;
        // Nothing is waited for while there is more to submit than fits.
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

    /// The kernel took no entry, and then it runs no deferred work either: has that done, whose completions free what
    /// it lacks.
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

    /// One system call.
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

    /// Moves entries that wait into the submission queue, as many as have room.
    fn fill(&mut self) {
        while let Some(entry) = self.waiting.front() {
            // SAFETY: what the entry points at lives on by the promise made to `push`.
            if unsafe { self.io.submission().push(entry) }.is_err() {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Whether there are entries that the kernel has not taken: an [`Self::enter`] is due.
    pub fn has_submissions(&mut self) -> bool {
        !self.waiting.is_empty() || !self.io.submission().is_empty()
    }

    /// Queues an entry; submits by itself when the queue is full. What the kernel does not take then waits for the
    /// next enter.
    ///
    /// # Safety
    /// Everything that the entry points at must live in a field of this ring until the entry's completion (or, for data
    /// that the kernel copies, until it is submitted).
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.armed += 1;
        // SAFETY: the caller's promise.
        if self.waiting.is_empty() && unsafe { self.io.submission().push(&entry) }.is_ok() {
            return;
        }
        self.waiting.push_back(entry);
        if self.waiting.len() == 1 {
            // An error that ends the ring comes again at the next enter, whose caller gets it.
            let _ = self.enter(0, None);
            self.fill();
        }
    }
}

/// Whether the kernel took nothing, but may later.
fn refuses(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

/// A limit that is over and a signal are no errors.
fn passes(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::completion::{Completion, Key, Received};
    use crate::ring::Settings;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const KEY: Key = Key::new(1);

    fn small() -> Ring {
        let settings = Settings {
            submissions: 2,
            completions: 4,
            buffers: 2,
            buffer_bytes: 64,
            ..Settings::default()
        };
        Ring::new(&settings).unwrap()
    }

    /// A queue that is full, and a kernel that takes nothing of it: arming must come to an end.
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
        // All are submitted in order, though there are five times as many as there is room for.
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
            ring.give_back(lent);
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
        ring.give_back(lent);
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
        // One that is accepted begins again.
        ring.enter(0, None).unwrap();
        ring.refusals = [libc::EAGAIN].into();
        ring.enter(0, None).unwrap();
    }

    fn next(ring: &mut Ring) -> Completion {
        for _ in 0..100 {
            if let Some(completion) = ring.next() {
                return completion;
            }
            ring.enter(1, Some(Duration::from_millis(100))).unwrap();
        }
        panic!("no completion came");
    }
}
