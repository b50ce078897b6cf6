//! Which process has a port: what `/proc` tells this user of it, for the refusal of a port that is in use.
//!
//! The kernel lists listening sockets by inode (`/proc/net/tcp`, proc(5)), and each process its descriptors. Those of
//! other users can be read by root alone.

use crate::terminal::plain;
use broker_core::settings::overlap;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// The process that listens at `addr` or at what covers it, as `heliograph (pid 1234)`.
pub(crate) fn of(addr: SocketAddr) -> Option<String> {
    let inodes = inodes(addr);
    let until = Instant::now() + LOOK_MAX;
    let processes = fs::read_dir("/proc").ok()?.take(ENTRIES_MAX).flatten();
    let mut numbers = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .take_while(|_| Instant::now() < until);
    let number = numbers.find(|number| has_one_of(*number, &inodes, until))?;
    let comm = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    // A process may name itself as it likes.
    Some(format!("{} (pid {number})", plain(comm.trim_end())))
}

/// The sockets that listen there.
fn inodes(addr: SocketAddr) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let Ok(file) = File::open(table) else {
            continue;
        };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let listening = lines.take(ENTRIES_MAX).filter_map(|line| listening(&line));
        inodes.extend(
            listening
                .filter(|(at, _)| overlap(*at, addr))
                .map(|(_, inode)| inode),
        );
    }
    inodes
}

/// Whether a process has one of these sockets open.
fn has_one_of(process: u32, inodes: &BTreeSet<u64>, until: Instant) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false; // of another user, or it has ended
    };
    descriptors
        .flatten()
        .take(ENTRIES_MAX)
        .take_while(|_| Instant::now() < until)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| socket_inode(&link))
        .any(|inode| inodes.contains(&inode))
}

/// `socket:[4711]`.
fn socket_inode(link: &Path) -> Option<u64> {
    let text = link.to_str()?.strip_prefix("socket:[")?;
    text.strip_suffix(']')?.parse().ok()
}

/// Address and inode of a line of the table, if it is of a listening socket.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let inode = words.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then_some((SocketAddr::new(address(ip)?, port), inode))
}

/// An address as the kernel prints it: words of four bytes, each a number of the machine's byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(8 * at..8 * at + 8)?, 16).ok();
    let bytes = |at: usize| word(at).map(u32::to_ne_bytes);
    match hex.len() {
        8 => bytes(0).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes))),
        32 => {
            let words = [bytes(0)?, bytes(1)?, bytes(2)?, bytes(3)?];
            let whole: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(whole)))
        }
        _ => None,
    }
}

/// The state TCP_LISTEN of the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";

/// Sockets, processes, and descriptors of one process that are looked at. What is beyond is not found, and the refusal
/// names the command that finds it.
const ENTRIES_MAX: usize = 1 << 17;

/// And for how long: the process is about to end.
const LOOK_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {

    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_process_of_a_port_is_found_by_its_address_or_one_that_covers_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut at = listener.local_addr().unwrap();
        let us = format!(" (pid {})", std::process::id());
        let found = of(at).unwrap();
        assert!(found.ends_with(&us) && found.len() > us.len(), "{found}");
        at.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert!(of(at).unwrap().ends_with(&us));
        drop(listener);
        assert_eq!(of(at), None);
        match TcpListener::bind("[::1]:0") {
            Ok(listener) => {
                let found = of(listener.local_addr().unwrap()).unwrap();
                assert!(found.ends_with(&us), "{found}");
            }
            Err(error) => eprintln!("skipped: no ::1: {error}"),
        }
    }

    /// Lines of a machine with the byte order of x86.
    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_the_table_are_read() {
        let four = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 \
                    0000000000000000 100 0 0 10 0";
        let at = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(listening(four), Some((at, 4711)));
        let six = four.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(listening(&six), Some(("[::1]:8080".parse().unwrap(), 4711)));
        for other in [
            four.replace(" 0A ", " 01 "),
            four.replace("0100007F", "0100007"),
            four.replace("4711", "-"),
            four.replace("0100007F", "€€€"),
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
                .into(),
            String::new(),
        ] {
            assert_eq!(listening(&other), None, "{other}");
        }
    }
}
