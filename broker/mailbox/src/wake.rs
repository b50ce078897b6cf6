//! State of the reader, asleep or awake, which a producer checks after queueing its letter.
//!
//! ```text
//!  producer                              reader
//!  1. letter into the queue              1. publish IN_RING or IN_GLOMMIO      fall_asleep
//!  2. fence                              2. fence
//!  3. state not AWAKE? set it to AWAKE   3. check the queue once more          (the caller's part)
//!     and write the named eventfd        4. empty: wait on it; then AWAKE        wake_up
//! ```
//! Each side writes one variable and then reads the other's, with a fence between, so at least one side sees the
//! other's write: the producer rings, or the reader finds the letter. Only the producer that sets the state to AWAKE
//! rings: at most once per sleep, regardless of the number of letters, and never while the reader is awake.
//!
//! There are two descriptors because a reader waits in two ways: in its own ring, which polls the bell, or through
//! glommio, which reads the descriptor that the ring signals for completions. A bell polled in the ring does not
//! reliably signal the ring's own descriptor.
//!
//! A signal may arrive after the reader has woken up: the next sleep then ends immediately, and the reader finds
//! nothing and sleeps again. The reader never sleeps while a letter is queued and no signal is in flight.

#[cfg(model)]
use loom::sync::atomic::{AtomicU8, Ordering, fence};
#[cfg(not(model))]
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// Way in which a reader waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Blocked in its own ring; the bell wakes it.
    InRing,
    /// Parked through glommio; the descriptor that the ring signals for completions wakes it.
    InGlommio,
}

pub(crate) trait ReaderBell {
    /// Ends the reader's current or next wait on this descriptor.
    fn ring(&self);
}

#[derive(Debug)]
pub(crate) struct Wake<D> {
    state: Line,
    pub(crate) bell: D,
    /// Descriptor that the reader's ring signals for every completion; glommio waits for it.
    pub(crate) completed: D,
}

/// State on separate cache lines, so that updates of the queue's counters do not invalidate it for producers.
#[derive(Debug)]
#[repr(align(128))]
struct Line(AtomicU8);

const AWAKE: u8 = 0;
const IN_RING: u8 = 1;
const IN_GLOMMIO: u8 = 2;

impl<D: ReaderBell> Wake<D> {
    pub(crate) fn new(bell: D, completed: D) -> Self {
        Self {
            state: Line(AtomicU8::new(AWAKE)),
            bell,
            completed,
        }
    }

    /// Producer: reports a queued letter. Rings if the reader sleeps and no other producer has rung for this sleep.
    pub(crate) fn posted(&self) {
        fence(Ordering::SeqCst);
        if self.state.0.load(Ordering::Relaxed) == AWAKE {
            return; // plain read: the line stays shared among producers
        }
        let slept = self.state.0.swap(AWAKE, Ordering::AcqRel);
        if slept == IN_RING {
            self.bell.ring();
        } else if slept == IN_GLOMMIO {
            self.completed.ring();
        }
    }

    /// Reader: announces a sleep. The caller must check the queue between this call and the wait.
    pub(crate) fn fall_asleep(&self, sleep: Sleep) {
        let state = match sleep {
            Sleep::InRing => IN_RING,
            Sleep::InGlommio => IN_GLOMMIO,
        };
        // An exchange, like every other change of the state, so that all changes form one chain. The C++ memory model
        // permits a plain store here, but the model checker does not order it against a producer's exchange.
        self.state.0.swap(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Reader: announces that it is awake, so that letters need no ring before the next sleep.
    pub(crate) fn wake_up(&self) {
        self.state.0.swap(AWAKE, Ordering::Relaxed);
    }
}

#[cfg(all(test, model))]
mod tests {

    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Notify};
    use loom::thread;

    /// Runs two producers with one letter each, and a reader that sleeps by the protocol until it has both letters. No
    /// interleaving may leave the reader waiting forever, which loom reports as a deadlock.
    fn no_lost_wake_up(sleeps: fn(usize) -> Sleep) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let post = Arc::new(Post::new());
            let producers: Vec<_> = (0..2)
                .map(|slot| {
                    let post = Arc::clone(&post);
                    thread::spawn(move || post.put(slot))
                })
                .collect();
            let mut taken = 0;
            let mut nap = 0;
            while taken < 2 {
                taken += post.take();
                if taken < 2 {
                    post.nap(sleeps(nap));
                    nap += 1;
                }
            }
            producers
                .into_iter()
                .for_each(|producer| producer.join().unwrap());
            // At most one ring per letter, and none without a sleep.
            assert!(post.rings() <= 2.min(nap));
        });
    }

    #[test]
    fn a_reader_in_its_ring_is_woken() {
        no_lost_wake_up(|_| Sleep::InRing);
    }

    #[test]
    fn a_reader_in_glommio_is_woken() {
        no_lost_wake_up(|_| Sleep::InGlommio);
    }

    #[test]
    fn a_reader_that_changes_its_sleep_is_woken() {
        no_lost_wake_up(|nap| {
            if nap % 2 == 0 {
                Sleep::InRing
            } else {
                Sleep::InGlommio
            }
        });
    }

    /// Tests the second step of parking: the wait in the ring has timed out, and the reader parks through glommio,
    /// while a producer may still ring the bell for the first step.
    #[test]
    fn a_reader_whose_wait_timed_out_is_woken() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let post = Arc::new(Post::new());
            let producers: Vec<_> = (0..2)
                .map(|slot| {
                    let post = Arc::clone(&post);
                    thread::spawn(move || post.put(slot))
                })
                .collect();
            let mut taken = 0;
            while taken < 2 {
                post.wake.fall_asleep(Sleep::InRing);
                taken += post.take(); // a time-out, not a ring, ends this sleep
                post.wake.wake_up();
                if taken < 2 {
                    post.nap(Sleep::InGlommio);
                    taken += post.take();
                }
            }
            producers
                .into_iter()
                .for_each(|producer| producer.join().unwrap());
        });
    }

    /// A queue with the weakest permissible ordering: release by the producer, acquire by the reader.
    struct Post {
        slots: [AtomicUsize; 2],
        wake: Wake<ModelDoor>,
    }

    impl Post {
        fn new() -> Self {
            let slots = [AtomicUsize::new(0), AtomicUsize::new(0)];
            Self {
                slots,
                wake: Wake::new(ModelDoor::new(), ModelDoor::new()),
            }
        }

        fn put(&self, slot: usize) {
            self.slots[slot].store(1, Ordering::Release);
            self.wake.posted();
        }

        fn is_empty(&self) -> bool {
            self.slots
                .iter()
                .all(|slot| slot.load(Ordering::Acquire) != 1)
        }

        /// Takes all queued letters; returns their number.
        fn take(&self) -> usize {
            let take = |slot: &AtomicUsize| {
                let full = slot.load(Ordering::Acquire) == 1;
                if full {
                    slot.store(2, Ordering::Relaxed); // one producer a slot: nobody else writes it
                }
                usize::from(full)
            };
            self.slots.iter().map(take).sum()
        }

        /// Announces a sleep, checks the queue and waits, in the same order as the edge.
        fn nap(&self, sleep: Sleep) {
            self.wake.fall_asleep(sleep);
            if self.is_empty() {
                match sleep {
                    Sleep::InRing => self.wake.bell.wait(),
                    Sleep::InGlommio => self.wake.completed.wait(),
                }
            }
            self.wake.wake_up();
        }

        fn rings(&self) -> usize {
            self.wake.bell.rings.load(Ordering::Relaxed)
                + self.wake.completed.rings.load(Ordering::Relaxed)
        }
    }

    struct ModelDoor {
        rings: AtomicUsize,
        signal: Notify,
    }

    impl ModelDoor {
        fn new() -> Self {
            Self {
                rings: AtomicUsize::new(0),
                signal: Notify::new(),
            }
        }

        fn wait(&self) {
            self.signal.wait();
        }
    }

    impl ReaderBell for ModelDoor {
        fn ring(&self) {
            self.rings.fetch_add(1, Ordering::Relaxed);
            self.signal.notify();
        }
    }
}
