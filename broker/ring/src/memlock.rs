//! Locked memory: how much the kernel charges for rings and their registered buffers, and how much is left.
//!
//! Theory of operation. The kernel counts locked pages per user rather than per process, and refuses requests beyond
//! `RLIMIT_MEMLOCK` with `ENOMEM`. It charges for a ring's memory and for the descriptors of its provided buffers (both
//! since Linux 6.14; older kernels charge only the memory cgroup). All kernels charge for buffers registered for fixed
//! I/O, once per ring, and include the whole huge page around each buffer. A process with `CAP_IPC_LOCK` is not
//! charged. No file exposes the count, so it is determined by locking memory and releasing it again.
#![expect(
    unsafe_code,
    reason = "registers memory of its own to learn what is left of a limit"
)]

use io_uring::IoUring;
use rustix::param::page_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{fs, io, ptr};

/// Minimum locked-memory limit in bytes for starting an executor, the same as in glommio.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Recommended locked-memory limit in bytes: the Debian default, which is enough for 16 shards.
pub(crate) const MEMLOCK_BYTES_USUAL: u64 = 8 * 1024 * 1024;

/// Explains how to raise the hard limit on locked memory for shells, logins, services and containers.
#[must_use]
pub fn memlock_remedy(bytes: u64) -> String {
    let kib = bytes.div_ceil(1024);
    format!(
        "in this shell `sudo prlimit --memlock={bytes} --pid $$`; at each login by the lines `* soft memlock {kib}` \
         and `* hard memlock {kib}` in /etc/security/limits.d/heliograph.conf; LimitMEMLOCK={kib}K in the systemd \
         unit; --ulimit memlock={bytes} of the container"
    )
}

/// Raises the soft limit on locked memory to the hard limit, if permitted. Returns the limit in bytes, or `None` if
/// there is none.
#[must_use]
pub fn raise_memlock() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Memlock, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

pub(crate) fn memlock() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// Determines how many more bytes the processes of this user can lock, up to `max`, by registering memory and releasing
/// it again. Accurate to a page, not counting the two pages that the ring itself takes. Takes a few milliseconds and
/// `max` bytes of memory.
///
/// # Errors
/// Returns an error if the address space has no room for `max` bytes.
pub fn lockable_bytes(max: usize) -> io::Result<usize> {
    let Ok(io) = IoUring::new(1) else {
        return Ok(0);
    };
    let page = page_size();
    let pages = max.div_ceil(page).max(1);
    let region = SmallPages::new(pages * page)?;
    let (mut fits, mut fails, mut attempt) = (0, pages + 1, pages);
    while fits + 1 < fails {
        if region.can_be_locked(&io, attempt * page) {
            fits = attempt;
        } else {
            fails = attempt;
        }
        attempt = usize::midpoint(fits, fails);
    }
    Ok(fits * page)
}

/// Releases all buffers that the rings of this process have registered for fixed I/O. Returns the number of rings that
/// had any. A [`Ring`](crate::Ring) registers no such buffers, so it is not affected.
///
/// Every registered buffer is charged in full and pins the whole huge page around it. If `/proc` is unavailable, no
/// rings are found and the buffers stay registered, which costs memory but is otherwise harmless.
pub fn unregister_buffers() -> usize {
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    open.flatten()
        .filter(|entry| {
            fs::read_link(entry.path())
                .is_ok_and(|target| target.as_os_str() == "anon_inode:[io_uring]")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&ring| unregister(ring))
        .count()
}

fn unregister(ring: libc::c_int) -> bool {
    // SAFETY: the operation has no memory argument, and fails unless the descriptor is a ring with registered buffers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring,
            UNREGISTER_BUFFERS,
            ptr::null::<libc::c_void>(),
            0,
        )
    };
    result == 0
}

struct SmallPages {
    start: *mut libc::c_void,
    len: usize,
}

impl SmallPages {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping was made above. A kernel without huge pages refuses the call, which is harmless.
        unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
        Ok(Self { start, len })
    }

    fn can_be_locked(&self, io: &IoUring, len: usize) -> bool {
        debug_assert!(len <= self.len);
        let buffer = libc::iovec {
            iov_base: self.start,
            iov_len: len,
        };
        // SAFETY: the mapping outlives the registration, which ends below, and no operation uses the buffer.
        let registered = unsafe { io.submitter().register_buffers(&[buffer]) }.is_ok();
        registered && io.submitter().unregister_buffers().is_ok()
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        // SAFETY: the region was mapped in `new` and is unmapped once; no pointer into it was given out.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// `IORING_UNREGISTER_BUFFERS` from the kernel's `io_uring.h`.
const UNREGISTER_BUFFERS: libc::c_uint = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests only an upper bound, since concurrent tests lock memory of the same user.
    #[test]
    fn what_is_left_of_locked_memory_is_learned() {
        let page = page_size();
        let left = lockable_bytes(page + 1).unwrap();
        assert!(left <= 2 * page && left.is_multiple_of(page), "{left}");
    }

    #[test]
    fn registered_buffers_are_released() {
        let io = IoUring::new(1).unwrap();
        let region = SmallPages::new(page_size()).unwrap();
        let buffer = libc::iovec {
            iov_base: region.start,
            iov_len: page_size(),
        };
        // SAFETY: `region` outlives the registration, and no operation reads or writes the buffer.
        unsafe { io.submitter().register_buffers(&[buffer]) }.unwrap();
        assert!(unregister_buffers() > 0);
        assert!(
            io.submitter().unregister_buffers().is_err(),
            "nothing is left to release"
        );
    }
}
