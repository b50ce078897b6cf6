//! Queue with reserved capacity, and the descriptors that a sleeping reader waits on.
//!
//! ```text
//!  capacity = open places + reserve
//!             post         post, post_always
//! ```
//! Ordinary letters (handovers, calls) never use the reserve. Callers bound the number of letters that *must* arrive
//! (replies to accepted calls, and a fixed number of commands), so that these always fit. The count of ordinary letters
//! is exact, not estimated from the queue's length: two producers cannot both take the last unreserved place.
//!
//! Capacity is only counted, not allocated: it grows with the number of shards, and most of it is for letters that are
//! rarely in flight all at once. Allocated queues would take gigabytes in a process with many shards.

use crate::wake::{ReaderBell, Sleep, Wake};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{EventfdFlags, eventfd};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Mailbox of one reader, a shard. Any thread may post; only the shard takes letters, falls asleep and wakes up.
///
/// Letters posted by one thread arrive in order. No letter is dropped, and no call blocks.
#[derive(Debug)]
pub struct Mailbox<L> {
    to: Sender<Envelope<L>>,
    from: Receiver<Envelope<L>>,
    /// Letters in the queue: at most `capacity`. Includes a letter that is being taken.
    taken: AtomicUsize,
    capacity: usize,
    /// Ordinary letters in the queue: at most `open_places`.
    ordinary: AtomicUsize,
    open_places: usize,
    wake: Wake<EventFd>,
}

#[derive(Debug)]
struct Envelope<L> {
    letter: L,
    account: Account,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    Ordinary,
    Reserve,
}

impl<L> Mailbox<L> {
    /// Creates a mailbox for `capacity` letters, of which `reserve` are not available to [`Mailbox::post`]. Memory is
    /// allocated as letters arrive, in blocks of about thirty.
    ///
    /// # Errors
    /// Fails if the process or the system has fewer than two free descriptors.
    ///
    /// # Panics
    /// Panics if `reserve` is not below `capacity`, since no ordinary letter would ever be accepted.
    pub fn new(capacity: usize, reserve: usize) -> io::Result<Self> {
        assert!(
            reserve < capacity,
            "a mailbox of {capacity} cannot reserve {reserve}"
        );
        let (to, from) = unbounded();
        let wake = Wake::new(EventFd::new()?, EventFd::new()?);
        Ok(Self {
            to,
            from,
            taken: AtomicUsize::new(0),
            capacity,
            ordinary: AtomicUsize::new(0),
            open_places: capacity - reserve,
            wake,
        })
    }

    /// Posts a handover or a call, and wakes a sleeping reader. Returns the letter if all unreserved places are taken.
    pub fn post(&self, letter: L) -> Result<(), L> {
        if !one_more(&self.ordinary, self.open_places) {
            return Err(letter);
        }
        if let Err(letter) = self.put(letter, Account::Ordinary) {
            self.ordinary.fetch_sub(1, Ordering::Relaxed);
            return Err(letter);
        }
        Ok(())
    }

    /// Posts a reply, a cancellation or a command (drain, scrape, stop), and wakes a sleeping reader. Returns the
    /// letter if the queue is full, which means that callers have exceeded the reserve.
    pub fn post_always(&self, letter: L) -> Result<(), L> {
        self.put(letter, Account::Reserve)
    }

    /// Takes the oldest letter.
    pub fn try_take(&self) -> Option<L> {
        let envelope = self.from.try_recv().ok()?;
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a letter left that never came in");
        match envelope.account {
            Account::Ordinary => {
                let before = self.ordinary.fetch_sub(1, Ordering::Relaxed);
                debug_assert!(before > 0, "an ordinary letter left that never came in");
            }
            Account::Reserve => {}
        }
        Some(envelope.letter)
    }

    /// Whether the queue is empty. After [`Mailbox::fall_asleep`], `true` means that the next letter wakes the reader.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// Announces that the reader is about to wait. Before waiting, the reader must check [`Mailbox::is_empty`].
    pub fn fall_asleep(&self, sleep: Sleep) {
        self.wake.fall_asleep(sleep);
    }

    /// Announces that the reader is awake and polls for letters, so that posting needs no system call.
    pub fn wake_up(&self) {
        self.wake.wake_up();
    }

    /// Eventfd of [`Sleep::InRing`], polled by the reader's ring. Need not be read: every write triggers the poll.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.wake.bell.as_fd()
    }

    /// Eventfd that wakes a reader in [`Sleep::InGlommio`]. The reader's ring also writes it for completions. The
    /// reader reads it before it checks the queue again.
    pub fn completed(&self) -> BorrowedFd<'_> {
        self.wake.completed.as_fd()
    }

    fn put(&self, letter: L, account: Account) -> Result<(), L> {
        if !one_more(&self.taken, self.capacity) {
            return Err(letter);
        }
        if let Err(closed) = self.to.try_send(Envelope { letter, account }) {
            // Never happens, since the mailbox owns the receiving end.
            return Err(closed.into_inner().letter);
        }
        self.wake.posted();
        Ok(())
    }
}

fn one_more(count: &AtomicUsize, most: usize) -> bool {
    let one_more = |count: usize| (count < most).then_some(count + 1);
    let counted = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    counted.is_ok()
}

/// Event counter descriptor (eventfd), closed on exec.
///
/// Deliberately blocking: on a non-blocking descriptor, a read through a ring fails at once instead of waiting. A write
/// blocks only if the count reaches 2⁶⁴ − 2, so in practice never.
#[derive(Debug)]
struct EventFd(File);

impl EventFd {
    /// Creates an eventfd with a count of 0. Fails if the process or the system is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC)?.into()))
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ReaderBell for EventFd {
    fn ring(&self) {
        // Fails only if the counter is at its maximum; the reader has then been notified already.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::fs::File;
    use std::io::Read;
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Post,
        PostAlways,
        Take,
    }

    proptest! {
        /// Compares the mailbox with a model: a `VecDeque` that counts ordinary letters and all letters.
        #[test]
        fn behaves_as_a_queue_with_a_reserve(
            reserve in 0_usize..6,
            open in 1_usize..6,
            actions in prop::collection::vec(
                prop_oneof![3 => Just(Action::Post), 2 => Just(Action::PostAlways), 3 => Just(Action::Take)], 0..200),
        ) {
            let mailbox = Mailbox::new(open + reserve, reserve).unwrap();
            let mut model: VecDeque<(usize, bool)> = VecDeque::new();
            for (number, action) in actions.into_iter().enumerate() {
                let ordinary = model.iter().filter(|(_, ordinary)| *ordinary).count();
                let full = model.len() == open + reserve;
                match action {
                    Action::Post if full || ordinary == open => prop_assert_eq!(mailbox.post(number), Err(number)),
                    Action::Post => {
                        prop_assert_eq!(mailbox.post(number), Ok(()));
                        model.push_back((number, true));
                    }
                    Action::PostAlways if full => prop_assert_eq!(mailbox.post_always(number), Err(number)),
                    Action::PostAlways => {
                        prop_assert_eq!(mailbox.post_always(number), Ok(()));
                        model.push_back((number, false));
                    }
                    Action::Take => prop_assert_eq!(mailbox.try_take(), model.pop_front().map(|(number, _)| number)),
                }
                prop_assert_eq!(mailbox.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn the_reserve_stays_free_whatever_is_posted() {
        let mailbox = Mailbox::new(5, 2).unwrap();
        assert_eq!(
            (0..9)
                .filter(|letter| mailbox.post(*letter).is_ok())
                .count(),
            3
        );
        assert_eq!(mailbox.post_always(10), Ok(()));
        assert_eq!(mailbox.post_always(11), Ok(()));
        assert_eq!(mailbox.post_always(12), Err(12));
    }

    #[test]
    fn places_take_no_memory_until_letters_come() {
        let mailbox = Mailbox::new(usize::MAX, usize::MAX - 1).unwrap();
        assert_eq!(mailbox.post(1), Ok(()));
        assert_eq!(mailbox.post(2), Err(2));
        assert_eq!(mailbox.post_always(3), Ok(()));
        assert_eq!((mailbox.try_take(), mailbox.try_take()), (Some(1), Some(3)));
    }

    #[test]
    #[should_panic(expected = "cannot reserve")]
    fn a_mailbox_without_open_places_is_refused() {
        let _ = Mailbox::<u8>::new(4, 4);
    }

    #[test]
    fn only_the_door_of_the_sleep_is_rung_and_once() {
        let mailbox = Mailbox::new(8, 0).unwrap();
        mailbox.post(1).unwrap(); // awake: no ring, so the counts below belong to later posts
        mailbox.fall_asleep(Sleep::InRing);
        mailbox.post(2).unwrap();
        mailbox.post(3).unwrap();
        assert_eq!(count(mailbox.bell()), 1);
        mailbox.fall_asleep(Sleep::InGlommio);
        mailbox.post(4).unwrap();
        assert_eq!(count(mailbox.completed()), 1);
        mailbox.fall_asleep(Sleep::InRing);
        mailbox.wake_up();
        mailbox.post(5).unwrap();
        mailbox.fall_asleep(Sleep::InRing);
        mailbox.post(6).unwrap();
        assert_eq!(
            count(mailbox.bell()),
            1,
            "the letter to an awake reader must not ring"
        );
    }

    /// Uses real threads and descriptors, which the model in `wake.rs` does not cover.
    #[test]
    fn letters_of_many_threads_arrive_in_order_and_wake_the_reader() {
        const PRODUCERS: usize = 2;
        const LETTERS: usize = 5_000;
        let mailbox = Arc::new(Mailbox::new(16, 4).unwrap());
        let (done, finished) = mpsc::channel();
        for producer in 0..PRODUCERS {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                for number in 0..LETTERS {
                    let mut letter = (producer, number);
                    while let Err(back) = mailbox.post(letter) {
                        letter = back;
                        thread::yield_now();
                    }
                }
            });
        }
        thread::spawn(move || {
            let mut next = [0; PRODUCERS];
            let mut naps = 0;
            while next != [LETTERS; PRODUCERS] {
                if let Some((producer, number)) = mailbox.try_take() {
                    assert_eq!(number, next[producer]);
                    next[producer] += 1;
                    continue;
                }
                nap(
                    &mailbox,
                    if naps % 2 == 0 {
                        Sleep::InRing
                    } else {
                        Sleep::InGlommio
                    },
                );
                naps += 1;
            }
            assert!(mailbox.is_empty());
            done.send(()).unwrap();
        });
        finished
            .recv_timeout(Duration::from_secs(60))
            .expect("the reader slept through a letter, or failed");
    }

    fn nap<L>(mailbox: &Mailbox<L>, sleep: Sleep) {
        mailbox.fall_asleep(sleep);
        if mailbox.is_empty() {
            count(match sleep {
                Sleep::InRing => mailbox.bell(),
                Sleep::InGlommio => mailbox.completed(),
            });
        }
        mailbox.wake_up();
    }

    /// Waits until the count of an eventfd is above 0, resets it to 0 and returns it.
    fn count(door: BorrowedFd<'_>) -> u64 {
        let mut bytes = [0; 8];
        File::from(door.try_clone_to_owned().unwrap())
            .read_exact(&mut bytes)
            .unwrap();
        u64::from_ne_bytes(bytes)
    }
}
