//! The receive buffers, of which the kernel picks one per receive ("provided buffers").
//!
//! Theory of operation. Two pieces of memory: the buffers, and a ring of descriptors that the kernel reads from. A
//! buffer is always in one of two hands: the kernel's (its number is in the descriptor ring between the kernel's head
//! and our tail) or ours (a [`Lent`] with its number exists). A completion moves it to us, [`Pool::give_back`] moves
//! it back by writing a descriptor and storing the tail. `Lent` cannot be copied and is consumed by giving back, so
//! nobody reads a buffer that the kernel may be writing to.
#![expect(
    unsafe_code,
    reason = "memory that the kernel writes to; the types above keep the two hands apart"
)]

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::param::page_size;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A buffer of received bytes, ours until it goes back. Dropping it instead loses it to its pool for good.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the pool"]
pub struct Lent {
    id: u16,
    pool: u32,
    len: u32,
}

impl Lent {
    /// The number of received bytes; at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len as usize
    }
}

/// All buffers of one ring. Boxed memory that never moves; freed on drop, after the ring has released it.
pub(crate) struct Pool {
    entries: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    count: u16,
    buffer_bytes: u32,
    /// The number of buffers ever handed out, lowest numbers first; the others were never touched.
    offered: u16,
    tail: u16,
    /// Distinguishes pools, so that a buffer of one is never looked up in another.
    serial: u32,
}

/// The one group of buffers that a ring has.
pub(crate) const GROUP: u16 = 0;

impl Pool {
    /// Allocates `count` buffers (a power of two) of `buffer_bytes`; the kernel has none of them yet.
    pub(crate) fn register(io: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        let (entries_layout, buffers_layout) = layouts(count, buffer_bytes);
        // SAFETY: both layouts have a size above 0, see `layouts`.
        let (entries, buffers) =
            unsafe { (alloc_zeroed(entries_layout), alloc_zeroed(buffers_layout)) };
        let Some(entries) = NonNull::new(entries.cast::<BufRingEntry>()) else {
            handle_alloc_error(entries_layout)
        };
        let Some(buffers) = NonNull::new(buffers) else {
            handle_alloc_error(buffers_layout)
        };
        let serial = POOLS.fetch_add(1, Ordering::Relaxed);
        let pool = Self {
            entries,
            buffers,
            count,
            buffer_bytes,
            offered: 0,
            tail: 0,
            serial,
        };
        // SAFETY: `entries` is page-aligned memory for `count` descriptors. It lives as long as the ring: `Ring` drops
        // the pool after the io_uring.
        unsafe {
            io.submitter()
                .register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)?
        };
        Ok(pool)
    }

    /// Hands further buffers to the kernel until it was given `most` of them, or all; returns whether there was one.
    pub(crate) fn offer(&mut self, most: u16) -> bool {
        let first = self.offered;
        self.offered = most.clamp(first, self.count);
        for id in first..self.offered {
            self.put(id);
        }
        self.offered > first
    }

    /// The number of buffers ever handed out.
    pub(crate) fn offered(&self) -> u16 {
        self.offered
    }

    /// The buffer that a completion named, with `len` received bytes in it.
    ///
    /// # Panics
    /// When the kernel names what it was not given.
    pub(crate) fn lend(&self, id: u16, len: u32) -> Lent {
        assert!(
            id < self.offered && len <= self.buffer_bytes,
            "the kernel returned what it was given"
        );
        Lent {
            id,
            pool: self.serial,
            len,
        }
    }

    /// The received bytes, to read and change in place.
    ///
    /// # Panics
    /// When the buffer is of another ring.
    pub(crate) fn bytes<'a>(&'a mut self, lent: &'a mut Lent) -> &'a mut [u8] {
        assert_eq!(lent.pool, self.serial, "a buffer of another ring");
        // SAFETY: `lend` checked id and len against the pool's size. The kernel does not have this buffer, because
        // `lent` exists and only `give_back`, which consumes it, writes its number into the descriptor ring; the
        // borrow of both ends before.
        unsafe {
            let start = self
                .buffers
                .as_ptr()
                .add(usize::from(lent.id) * self.buffer_bytes as usize);
            std::slice::from_raw_parts_mut(start, lent.len as usize)
        }
    }

    /// The size of each buffer.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes as usize
    }

    /// Hands the buffer to the kernel.
    ///
    /// # Panics
    /// When the buffer is of another ring.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "consuming it is the point: nobody can read it afterwards"
    )]
    pub(crate) fn give_back(&mut self, lent: Lent) {
        assert_eq!(lent.pool, self.serial, "a buffer of another ring");
        self.put(lent.id);
    }

    fn put(&mut self, id: u16) {
        let base = self.entries.as_ptr();
        // SAFETY: the index is below `count`, the number of descriptors allocated. The kernel reads only descriptors
        // below the tail, so this one is not read before the store below publishes it; at most `count` buffers exist,
        // so none unread is overwritten. `tail` is the descriptor ring's tail field, aligned for u16, read by the
        // kernel with acquire.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail & (self.count - 1)));
            entry.set_addr(
                self.buffers
                    .as_ptr()
                    .add(usize::from(id) * self.buffer_bytes as usize) as u64,
            );
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let (entries_layout, buffers_layout) = layouts(self.count, self.buffer_bytes);
        // SAFETY: allocated in `register` with these layouts, and freed once.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout);
            dealloc(self.buffers.as_ptr(), buffers_layout);
        }
    }
}

/// Aligned to the pages of this system, as the kernel wants the descriptors, and never of size 0.
fn layouts(count: u16, buffer_bytes: u32) -> (Layout, Layout) {
    let of = |bytes: usize| {
        Layout::from_size_align(bytes, page_size()).expect("bounded by Settings::check")
    };
    let count = usize::from(count);
    (
        of(count * size_of::<BufRingEntry>()),
        of(count * buffer_bytes as usize),
    )
}
