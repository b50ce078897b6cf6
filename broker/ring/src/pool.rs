//! Receive buffers. A receive takes a buffer only when data arrives. With io_uring, the kernel takes it ("provided
//! buffers"); with epoll, the engine does.
//!
//! Theory of operation. A buffer always has one owner: either the receiver or the caller, who then has a [`Lent`] with
//! its number. A completion passes the buffer to the caller, and giving it back returns it to the receiver. `Lent`
//! cannot be copied and is consumed when the buffer is given back, so nobody reads a buffer that may be written to.
//! [`Buffers`] is the memory. With [`Pool`], the receiver is the kernel. The numbers of its buffers are in a ring of
//! descriptors, between the kernel's head and the pool's tail. To give a buffer back, the pool writes a descriptor and
//! advances the tail. With [`Stack`], the receiver is the engine. It uses the most recently returned buffer first,
//! because that one is still in the core's cache.
#![expect(
    unsafe_code,
    reason = "memory that the kernel writes to; the types above keep the two hands apart"
)]

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::io::Errno;
use rustix::param::page_size;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A buffer with received bytes, which the caller owns until it gives the buffer back. If a `Lent` is dropped instead,
/// the pool loses the buffer.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to the pool"]
pub struct Lent {
    id: u16,
    pool: u32,
    len: u32,
}

impl Lent {
    /// Returns the number of received bytes, which is at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    fn cut(self, len: usize) -> Self {
        debug_assert!((1..=self.len()).contains(&len));
        let len = u32::try_from(len).unwrap_or(self.len).min(self.len);
        Self { len, ..self }
    }
}

/// The memory for all buffers of a ring. It never moves.
pub(crate) struct Buffers {
    start: NonNull<u8>,
    count: u16,
    bytes: u32,
    /// Number of buffers taken into use so far, starting with buffer 0. The memory of the rest has never been touched.
    pub(crate) offered: u16,
    lent: u16,
    used: bool,
    serial: u32,
}

impl Buffers {
    fn new(count: u16, bytes: u32) -> Self {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        let layout = buffers_layout(count, bytes);
        // SAFETY: the size of the layout is above 0, see `buffers_layout`.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let serial = POOLS.fetch_add(1, Ordering::Relaxed);
        Self {
            start,
            count,
            bytes,
            offered: 0,
            lent: 0,
            used: false,
            serial,
        }
    }

    /// Increases the number of buffers in use to `most`, or to all of them if there are fewer. Returns the numbers of
    /// the added buffers.
    fn offer(&mut self, most: u16) -> Range<u16> {
        let first = self.offered;
        self.offered = most.clamp(first, self.count);
        first..self.offered
    }

    /// Lends out the buffer with this number, which contains `len` received bytes. Panics if the buffer was never in
    /// use.
    pub(crate) fn lend(&mut self, id: u16, len: u32) -> Lent {
        assert!(
            id < self.offered && len <= self.bytes,
            "a receive names what was handed out"
        );
        (self.lent, self.used) = (self.lent + 1, true);
        let pool = self.serial;
        Lent { id, pool, len }
    }

    /// Returns the received bytes in a buffer. Panics if another ring owns the buffer.
    pub(crate) fn bytes<'a>(&'a mut self, lent: &'a mut Lent) -> &'a mut [u8] {
        assert_eq!(lent.pool, self.serial, "a buffer of another ring");
        // SAFETY: `lend` checked id and len against the memory's size. `lent` is the only access to the buffer until it
        // is consumed and the number is reused; the returned borrow ends before that.
        unsafe { std::slice::from_raw_parts_mut(self.place(lent.id), lent.len as usize) }
    }

    pub(crate) fn fills(&self, lent: &Lent) -> bool {
        lent.len == self.bytes
    }

    /// Takes back a buffer and returns its number. Panics if another ring owns the buffer.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "consuming it is the point: nobody can read it afterwards"
    )]
    fn take_back(&mut self, lent: Lent) -> u16 {
        assert_eq!(lent.pool, self.serial, "a buffer of another ring");
        self.lent -= 1;
        lent.id
    }

    /// Gives the memory of all buffers back to the system, and returns whether this succeeded. The memory is mapped
    /// again as data arrives. Does nothing while a buffer is lent out, or if none has been lent out since the last
    /// release. The caller must ensure that no buffer contains unreported data.
    pub(crate) fn release(&mut self) -> bool {
        if self.lent > 0 || !std::mem::take(&mut self.used) {
            return false;
        }
        let bytes = buffers_layout(self.count, self.bytes).size();
        let whole = bytes - bytes % page_size();
        // SAFETY: whole pages of the page-aligned allocation. No buffer is lent, so no reference to these bytes exists,
        // and their values do not matter: a `Lent` spans only received bytes.
        unsafe { libc::madvise(self.start.as_ptr().cast(), whole, libc::MADV_DONTNEED) == 0 }
    }

    fn place(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.count);
        let at = usize::from(id) * self.bytes as usize;
        // SAFETY: the number is below the allocated count.
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), buffers_layout(self.count, self.bytes)) }
    }
}

/// An io_uring's buffers, with the descriptors through which the kernel takes them. Must be dropped after the kernel's
/// ring.
pub(crate) struct Pool {
    pub(crate) buffers: Buffers,
    entries: NonNull<BufRingEntry>,
    tail: u16,
}

pub(crate) const GROUP: u16 = 0;

impl Pool {
    /// Allocates `count` buffers (a power of two) of `buffer_bytes` bytes, without handing any to the kernel yet.
    pub(crate) fn register(io: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        let layout = entries_layout(count);
        // SAFETY: the size of the layout is above 0, see `entries_layout`.
        let entries = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(entries.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout)
        };
        let pool = Self {
            buffers: Buffers::new(count, buffer_bytes),
            entries,
            tail: 0,
        };
        // SAFETY: `entries` is page-aligned memory for `count` descriptors. It lives as long as the ring: `Uring` drops
        // the pool after the io_uring.
        unsafe {
            io.submitter()
                .register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)?
        };
        Ok(pool)
    }

    /// Increases the number of buffers that the kernel may use to `most`, or to all of them if there are fewer. Returns
    /// whether any were added.
    pub(crate) fn offer(&mut self, most: u16) -> bool {
        let more = self.buffers.offer(most);
        let is_more = !more.is_empty();
        more.for_each(|id| self.put(id));
        is_more
    }

    pub(crate) fn give_back(&mut self, lent: Lent) {
        let id = self.buffers.take_back(lent);
        self.put(id);
    }

    fn put(&mut self, id: u16) {
        let base = self.entries.as_ptr();
        // SAFETY: the index is below `count`, the number of allocated descriptors. The kernel reads only descriptors
        // below the tail, so this one is not read before the store below publishes it; there are at most `count`
        // buffers, so no unread descriptor is overwritten. `tail` is the descriptor ring's tail field, aligned for u16,
        // which the kernel reads with acquire.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail & (self.buffers.count - 1)));
            entry.set_addr(self.buffers.place(id) as u64);
            entry.set_len(self.buffers.bytes);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let layout = entries_layout(self.buffers.count);
        // SAFETY: allocated in `register` with this layout, and freed once.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout) }
    }
}

pub(crate) struct Stack {
    pub(crate) buffers: Buffers,
    free: Vec<u16>,
}

impl Stack {
    /// Allocates `count` buffers of `buffer_bytes` bytes, of which `at_start` are in use at first.
    pub(crate) fn new(count: u16, buffer_bytes: u32, at_start: u16) -> Self {
        let buffers = Buffers::new(count, buffer_bytes);
        let mut stack = Self {
            buffers,
            free: Vec::new(),
        };
        stack.offer(at_start.max(1));
        stack
    }

    /// Increases the number of buffers in use to `most`, or to all of them if there are fewer. Returns whether any were
    /// added.
    pub(crate) fn offer(&mut self, most: u16) -> bool {
        let more = self.buffers.offer(most);
        let is_more = !more.is_empty();
        self.free.extend(more);
        is_more
    }

    /// Receives into the most recently returned buffer. If nothing was received, the buffer goes back on the stack.
    pub(crate) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Filled {
        let Some(id) = self.free.pop() else {
            return Filled::NoBuffers;
        };
        let mut lent = self.buffers.lend(id, self.buffers.bytes);
        let received = read(self.buffers.bytes(&mut lent));
        if let Ok(len @ 1..) = received {
            return Filled::Bytes(lent.cut(len));
        }
        self.give_back(lent);
        received.map_or_else(Filled::Failed, |_| Filled::End)
    }

    pub(crate) fn give_back(&mut self, lent: Lent) {
        let id = self.buffers.take_back(lent);
        self.free.push(id);
    }
}

pub(crate) enum Filled {
    Bytes(Lent),
    End,
    NoBuffers,
    Failed(Errno),
}

/// Returns the memory layout of the descriptors. It is page-aligned, as the kernel requires, and its size is never 0.
fn entries_layout(count: u16) -> Layout {
    layout(usize::from(count) * size_of::<BufRingEntry>())
}

/// Returns the memory layout of the buffers, which is never of size 0.
fn buffers_layout(count: u16, bytes: u32) -> Layout {
    layout(usize::from(count) * bytes as usize)
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, page_size()).expect("bounded by Settings::check")
}
