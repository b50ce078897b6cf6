//! `heliograph bundle`: collects a broker's diagnostics into a tar archive for a support request. Only its owner can
//! read the archive, and none of the pages and command outputs in it contain secrets.

use crate::admin_client::AdminListener;
use crate::commands::{cluster, doctor};
use crate::config::{
    AdminFlags, BundleFlags, ClusterCommand, ClusterFlags, DoctorFlags, VersionFlags,
};
use crate::edge::turn::calendar;
use crate::terminal::{counted, json};
use crate::{failure::Failure, version};
use codec::calendar::rfc3339;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Queries the broker, inspects the machine, and writes the archive. Returns a message that ends with a newline.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments, and [`Failure::Fatal`] if the file cannot be
/// written. If the broker does not answer, the archive says so, and no error is returned.
pub fn run(flags: &BundleFlags) -> Result<String, Failure> {
    let now_ms = calendar().0;
    let stamp: String = rfc3339(now_ms)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(15)
        .collect();
    let name = format!("heliograph-bundle-{stamp}");
    let path = flags.output.clone();
    let path = path.unwrap_or_else(|| PathBuf::from(format!("{name}.tar")));
    let mut parts = of_broker(&AdminListener::of(&flags.asked)?);
    parts.extend(of_machine(&flags.asked, &parts));
    let mut archive = Vec::new();
    for (file, content) in &parts {
        entry(
            &mut archive,
            &format!("{name}/{file}"),
            content.as_bytes(),
            now_ms / 1000,
        );
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    write_new(&path, &archive).map_err(|error| {
        let path = path.display();
        Failure::Fatal(format!(
            "{path}: must be a file that is absent, and that can be written: {error}"
        ))
    })?;
    Ok(format!(
        "{}: {}, {} KiB, mode 0600. It has no secret, but names of channels, clients and addresses: look into it \
         before you pass it on\n",
        path.display(),
        counted(parts.len(), "file"),
        archive.len().div_ceil(1024),
    ))
}

/// A file of the archive: its name and its content.
type Part = (&'static str, String);

/// The broker pages to fetch, each with its file name in the archive and its request path.
const PAGES: [(&str, &str); 8] = [
    ("config.json", "/config"),
    ("overview.json", "/overview"),
    ("problems.json", "/problems?limit=1000"),
    ("history.json", "/history?from=-24h"),
    ("metrics.txt", "/metrics"),
    ("log.json", "/log?limit=1000"),
    ("warnings.json", "/log?limit=1000&level=WARN"),
    ("cluster.json", "/cluster"),
];

/// Fetches the broker's pages, keeping error responses as well. If the broker does not answer at all, the error is
/// stored in place of the page, and the remaining pages are skipped.
fn of_broker(listener: &AdminListener) -> Vec<Part> {
    let mut parts = Vec::new();
    for (file, target) in PAGES {
        let answer = listener.ask("GET", target);
        let text = answer.and_then(|answer| answer.text(PAGE_BYTES_MAX));
        let is_answered = text.is_ok();
        let content = text.unwrap_or_else(|error| format!("{error}\n"));
        parts.push((file, content));
        if !is_answered {
            break; // the other pages would time out as well
        }
    }
    parts
}

/// Collects everything that does not come from the broker: build information, the state of the machine and, in a
/// cluster, the state of etcd.
fn of_machine(asked: &AdminFlags, parts: &[Part]) -> Vec<Part> {
    let doctor = doctor::document(&doctor::lines(&DoctorFlags {
        asked: asked.clone(),
        json: true,
        ready: false,
    }));
    let mut found = vec![
        ("version.json", version::text(&VersionFlags { json: true })),
        ("doctor.json", format!("{}\n", json(&doctor))),
    ];
    let is_cluster = parts
        .iter()
        .any(|(_, content)| content.contains("\"slot_owners\""));
    if let Some(config) = asked.config.clone().filter(|_| is_cluster) {
        let flags = ClusterFlags {
            config: Some(config),
            command: ClusterCommand::Status,
        };
        let mut out = Vec::new();
        let content = match cluster::run(&flags, &mut out) {
            Ok(()) => String::from_utf8_lossy(&out).into_owned(),
            Err(failure) => format!("{failure}\n"),
        };
        found.push(("cluster-status.txt", content));
    }
    found
}

/// Writes a new file that only its owner can read. If writing fails, the file is removed.
fn write_new(path: &std::path::Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Appends a file to a POSIX.1-1988 (ustar) archive: a header followed by the content, each padded to a multiple of 512
/// bytes. Header fields are at fixed offsets, and numbers are in octal.
fn entry(archive: &mut Vec<u8>, name: &str, content: &[u8], time_s: u64) {
    let mut head = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, &format!("{time_s:011o}"));
    put(148, "        "); // the checksum is computed with blanks in its own field
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(148, &format!("{sum:06o}\u{0}"));
    archive.extend(head);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

const PAGE_BYTES_MAX: u64 = 16 << 20;
const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_archive_is_unpacked_by_tar() {
        let folder = testkit::Directory::temporary();
        let mut archive = Vec::new();
        for (name, length) in [("a/empty", 0), ("a/block", BLOCK), ("a/more", BLOCK + 1)] {
            entry(&mut archive, name, &vec![b'x'; length], 1_795_176_001);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        let path = folder.join("archive.tar");
        write_new(&path, &archive).unwrap();
        assert_eq!(
            write_new(&path, &archive).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(&path)
            .arg("-C")
            .arg(&folder)
            .output();
        let unpacked = unpacked.expect("tar");
        assert!(
            unpacked.status.success() && unpacked.stderr.is_empty(),
            "{unpacked:?}"
        );
        for (name, length) in [("a/empty", 0), ("a/block", BLOCK), ("a/more", BLOCK + 1)] {
            assert_eq!(
                fs::read(folder.join(name)).unwrap(),
                vec![b'x'; length],
                "{name}"
            );
        }
    }
}
