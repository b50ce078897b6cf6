//! The kernel's counts of one TCP connection.
#![expect(unsafe_code, reason = "no crate of the project reads TCP_INFO")]

use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Segments that came on a connection, those without bytes included.
pub(crate) fn segments_received(stream: &TcpStream) -> u32 {
    let mut info = [0_u32; 64];
    let mut bytes = u32::try_from(size_of_val(&info)).unwrap();
    // SAFETY: the kernel writes at most `bytes` bytes into `info`, which is as long, and their number into `bytes`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    assert!(bytes as usize > SEGS_IN * size_of::<u32>());
    info[SEGS_IN]
}

/// The place of `tcpi_segs_in` in the kernel's `struct tcp_info`, in words.
const SEGS_IN: usize = 35;
