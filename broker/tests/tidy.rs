//! Rules of the project as tests: who may import whom, how long files and functions may be, and what texts cite.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/citations.rs"]
mod citations;
#[path = "tidy/pages.rs"]
mod pages;

/// Modules of the broker by layer: each may use its own layer's words and everything above, never what is below.
const LAYERS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("time", &[]),
    ("limits", &[]),
    ("event", &[]),
    ("journal", &["limits", "time"]),
    ("auth", &["limits"]),
    ("record", &["time"]),
    ("machine", &["id", "time"]),
    (
        "session",
        &[
            "auth", "config", "event", "id", "journal", "limits", "machine", "quota", "record",
            "time",
        ],
    ),
    (
        "channel",
        &["config", "id", "limits", "quota", "record", "time"],
    ),
    ("quota", &["config", "time"]),
    ("registry", &["id", "record", "time"]),
    ("placement", &["id"]),
    ("control", &["config", "id", "machine", "time"]),
    (
        "shard",
        &[
            "auth",
            "channel",
            "config",
            "control",
            "crowd",
            "event",
            "id",
            "journal",
            "limits",
            "machine",
            "placement",
            "quota",
            "record",
            "registry",
            "session",
            "time",
        ],
    ),
    ("crowd", &["time"]),
    ("edge", &["crowd", "id", "limits", "machine", "time"]),
    ("config", &["auth", "limits", "memory"]),
];

/// Crates that only the outer layers may name.
const OUTSIDE: &[&str] = &[
    "glommio", "tokio", "axum", "rustls", "socket2", "ring", "mailbox",
];

/// Modules that touch the world.
const OUTER: &[&str] = &[
    "backup",
    "edge",
    "side",
    "server",
    "config",
    "main",
    "lib",
    "certificate",
    "tls_files",
];

#[test]
fn modules_import_only_what_their_layer_allows() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let module = module_of(&path);
        let allowed = LAYERS
            .iter()
            .find(|(name, _)| *name == module)
            .map(|(_, allowed)| *allowed);
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}:{}: {}", path.display(), number + 1, line.trim());
            for name in words_after(line, "crate::") {
                if allowed
                    .is_some_and(|allowed| name != module && !allowed.contains(&name.as_str()))
                {
                    faults.push(place());
                }
            }
            let code = line.trim_start();
            if !code.starts_with("//") && !OUTER.contains(&module.as_str()) {
                faults.extend(
                    OUTSIDE
                        .iter()
                        .filter(|name| names_crate(code, name))
                        .map(|_| place()),
                );
            }
        }
    }
    assert!(
        faults.is_empty(),
        "imports against the layers:\n{}",
        faults.join("\n")
    );
}

#[test]
fn the_core_reads_no_clock_and_draws_no_randomness() {
    let forbidden = [
        "Instant::now",
        "SystemTime",
        "thread_rng",
        "getrandom",
        "std::net::Tcp",
        "std::fs",
        "async fn",
    ];
    let mut faults = Vec::new();
    for (path, text) in sources("src").into_iter().chain(sources("../codec/src")) {
        if OUTER.contains(&module_of(&path).as_str()) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        faults.extend(
            forbidden
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(
        faults.is_empty(),
        "the core touches the world:\n{}",
        faults.join("\n")
    );
}

#[test]
fn files_have_one_reason_to_exist() {
    let folders = [
        "src",
        "ring/src",
        "mailbox/src",
        "store/src",
        "../codec/src",
        "../loadgen/src",
        "../benches/src",
    ];
    let mut faults = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        let code = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .lines()
            .count();
        if code > FILE_LINES_MAX {
            faults.push(format!(
                "{}: {code} lines before its tests, at most {FILE_LINES_MAX}",
                path.display()
            ));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                faults.push(format!(
                    "{}:{}: {} characters",
                    path.display(),
                    number + 1,
                    line.chars().count()
                ));
            }
            let leftover = ["TODO", "FIXME", "XXX", "dbg!("]
                .iter()
                .any(|word| line.contains(word));
            if leftover {
                faults.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

const FILE_LINES_MAX: usize = 480;
const LINE_CHARS_MAX: usize = 160;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut open = vec![root];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("a folder of sources")
            .map(|entry| entry.expect("a readable entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("a readable source");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The module of the crate that a file belongs to: `shard` for `src/shard/relay.rs`, `event` for `src/event.rs`.
fn module_of(path: &Path) -> String {
    let parts: Vec<String> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    let source = parts
        .iter()
        .rposition(|part| part == "src")
        .expect("a source file");
    parts[source + 1].trim_end_matches(".rs").to_owned()
}

/// Whether a line uses a path that begins with this crate's name.
fn names_crate(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    line.match_indices(&path)
        .any(|(at, _)| !line[..at].ends_with(inside))
}

/// The names that follow each `prefix` in a line.
fn words_after(line: &str, prefix: &str) -> Vec<String> {
    let name = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    line.match_indices(prefix)
        .map(|(at, _)| name(&line[at + prefix.len()..]))
        .collect()
}
