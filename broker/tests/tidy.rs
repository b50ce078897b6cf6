//! Rules of the project as tests: imports between modules and files, lengths, citations, documents, and plain words.

mod budgets;
mod circles;
mod citations;
mod documents;
mod imports;
mod lines;
mod pages;
mod sections;
mod tokens;

use budgets::{code_lines, production};
use imports::names_behind;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `broker-core`: each may use its own and those named here.
#[rustfmt::skip] // a table, a case per row
const CORE: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("time", &[]),
    ("limits", &["work_units"]),
    ("check", &[]),
    ("journal", &["check", "id", "limits", "time"]),
    ("event", &["check", "id", "journal"]),
    ("refusal", &["check", "event"]),
    ("auth", &["check", "limits", "machine", "quota", "refusal", "time", "wire"]),
    ("refusal_id", &["auth", "check", "event", "id", "limits", "time"]),
    ("record", &["time"]),
    ("machine", &["id", "time", "work_units"]),
    ("work_units", &[]),
    ("clock_jump", &["limits", "machine", "time"]),
    ("presence", &["id", "limits", "record", "time"]),
    ("settings", &["auth", "limits", "quota", "record"]),
    ("session", &["auth", "event", "id", "journal", "limits", "machine", "quota", "record", "settings", "time"]),
    ("channel", &["id", "limits", "quota", "record", "settings", "time"]),
    ("quota", &["time"]),
    ("registry", &["id", "record", "time"]),
    ("catalog", &["id", "limits", "quota", "record", "settings", "testing", "time"]),
    ("placement", &["cluster", "id", "time"]),
    ("control", &["id", "machine", "settings", "time"]),
    ("address_shares", &["time"]),
    ("cluster", &["id", "settings", "time", "wire"]),
];

/// Modules of the broker, and which of its other modules and which of `broker-core` they may use.
#[rustfmt::skip] // a table, a case per row
const EDGE: &[(&str, &[&str])] = &[
    ("edge", &["devices"]),
    ("config", &["devices", "files", "hooks", "memory", "terminal"]),
];
const EDGE_OF_CORE: &[(&str, &[&str])] = &[
    (
        "edge",
        &[
            "address_shares",
            "cluster", // the ends of links
            "id",
            "clock_jump",
            "limits",
            "machine",
            "time",
            "work_units",
        ],
    ),
    ("config", &["auth", "limits", "settings"]),
];

#[test]
fn modules_import_only_what_their_layer_allows() {
    let mut faults = imports("core/src", "crate", CORE);
    faults.extend(imports("src", "crate", EDGE));
    faults.extend(imports("src", "broker_core", EDGE_OF_CORE));
    assert!(
        faults.is_empty(),
        "imports against the layers:\n{}",
        faults.join("\n")
    );
}

/// Files of a folder whose module names another one behind `first` that its layer does not allow.
fn imports(folder: &str, first: &str, layers: &[(&str, &[&str])]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in sources(folder) {
        let module = module_of(&path);
        let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == module) else {
            continue;
        };
        for name in names_behind(first, &text) {
            // Types and functions of the root are everybody's.
            let is_module = name.starts_with(|c: char| c.is_ascii_lowercase());
            if is_module && name != module && !allowed.contains(&name.as_str()) {
                faults.push(format!("{}: {first}::{name}", path.display()));
            }
        }
    }
    faults
}

/// Clocks, files, sockets, threads and randomness are banned by the `clippy.toml` of both crates.
#[test]
fn the_core_is_not_asynchronous() {
    let mut faults = Vec::new();
    for (path, text) in sources("core/src")
        .into_iter()
        .chain(sources("../codec/src"))
    {
        let asynchronous = ["async fn", "async move", "async {"];
        if asynchronous.iter().any(|word| text.contains(word)) {
            faults.push(path.display().to_string());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_have_one_reason_to_exist() {
    #[rustfmt::skip] // a list
    let folders = [
        "src", "core/src", "ring/src", "mailbox/src", "store/src", "link/src", "etcd/src", "testkit/src",
        "../codec/src", "../loadgen/src", "../benches/src",
    ];
    let mut faults = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        let code = code_lines(production(&text));
        if code > FILE_LINES_MAX && !path.ends_with(GENERATED) {
            faults.push(format!(
                "{}: {code} lines of code before its tests, at most {FILE_LINES_MAX}",
                path.display()
            ));
        }
        for (number, line) in text.lines().enumerate() {
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

#[test]
fn files_of_tests_have_a_bound() {
    #[rustfmt::skip] // a list
    let folders = [
        "tests", "core/tests", "ring/tests", "store/tests", "etcd/tests", "../codec/tests", "../loadgen/tests",
        "../benches/benches",
    ];
    let faults: Vec<String> = folders
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > TEST_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(
        faults.is_empty(),
        "at most {TEST_LINES_MAX} lines:\n{}",
        faults.join("\n")
    );
}

/// Lines of code: neither blank ones nor comments.
const FILE_LINES_MAX: usize = 600;
/// Written by a generator, which puts all messages and clients into one file.
const GENERATED: &str = "etcd/src/rpc/generated.rs";
const TEST_LINES_MAX: usize = 500;

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

/// The module of the crate that a file belongs to: `shard` for `src/shard/road/delivery.rs`, `event` for
/// `src/event.rs`.
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
