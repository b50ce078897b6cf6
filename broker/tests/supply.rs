//! The packages that the workspace is built from: the licences of all in Cargo.lock, where they come from, and which
//! are there in more than one version; `deploy/ci/check.sh` shows the report. And those that the core is not built
//! from.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Licences that a package may have, by their SPDX names, and why.
#[rustfmt::skip] // a table, a case per row
const ALLOWED: &[(&str, &str)] = &[
    ("Apache-2.0", "the licence of Heliograph itself"),
    ("MIT", "permissive: the notice is kept"),
    ("MIT-0", "permissive, without even the notice"),
    ("ISC", "permissive: the notice is kept"),
    ("0BSD", "permissive, without even the notice"),
    ("BSD-2-Clause", "permissive: the notice is kept"),
    ("BSD-3-Clause", "permissive: the notice is kept, no advertising with names"),
    ("BSL-1.0", "permissive: the notice is kept in sources"),
    ("Zlib", "permissive: changed sources are marked as such"),
    ("Unlicense", "in the public domain"),
    ("CC0-1.0", "in the public domain"),
    ("Unicode-3.0", "permissive: tables of the Unicode Consortium"),
    ("MPL-2.0+", "binds the package's own files alone, and those are used as published"),
];

/// The build script of glommio would have git fetch submodules of whatever repository it is built in.
#[test]
fn a_build_runs_no_git() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::fs::read_to_string(root.join(".cargo/config.toml")).expect("a file");
    assert!(cargo.contains("\nGLOMMIO_LIBURING_DIR = \"liburing\"\n"));
    let told = Command::new(root.join("deploy/ci/liburing.sh")).output();
    let told = told.expect("it runs");
    let sources = String::from_utf8(told.stdout).expect("a path");
    let setup = Path::new(sources.trim()).join("src/setup.c");
    assert!(setup.is_file(), "{}", setup.display());
    let text = std::fs::read_to_string(root.join("deploy/ci/check.sh")).expect("a script");
    assert!(text.contains("GLOMMIO_LIBURING_DIR=\"$(deploy/ci/liburing.sh)\""));
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name, to show its report"]
#[expect(clippy::print_stdout, reason = "the report")]
fn packages_have_allowed_licences_and_one_source() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut faults = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str();
        let (name, version) = (text("name").expect("a name"), text("version").expect("one"));
        let licence = text("license").unwrap_or("none");
        if !allowed(licence) {
            faults.push(format!(
                "{name} {version}: the licence {licence} is not in the list of {}",
                file!()
            ));
        }
        let Some(source) = text("source") else {
            continue; // of this workspace
        };
        if source != "registry+https://github.com/rust-lang/crates.io-index" {
            faults.push(format!(
                "{name} {version}: not from crates.io but from {source}"
            ));
        }
        versions.entry(name).or_default().insert(version);
    }
    let count: usize = versions.values().map(BTreeSet::len).sum();
    println!("supply: {count} packages, all from crates.io and with licences of the list");
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let versions: Vec<_> = versions.iter().copied().collect();
        println!("supply: duplicate {name} {}", versions.join(", "));
    }
    println!(
        "supply: advisories skipped: the advisory database is not in the registries; {KNOWN} has known ones"
    );
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(count > 100, "{count} packages: Cargo.lock was not read");
}

/// A row whose crate is there in another version is to be judged again, one whose crate is gone to be removed.
#[test]
fn advisories_of_the_table_are_about_crates_of_the_lock_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let (lock, page) = (read("Cargo.lock"), read("deploy/SECURITY.md"));
    let table = read(KNOWN);
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    for row in rows {
        let cells: Vec<_> = row.split('\t').collect();
        let [advisory, name, version, _by, _why] = cells[..] else {
            panic!("five cells are expected: {row}");
        };
        let is = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&is), "not in Cargo.lock: {name} {version}");
        assert!(
            page.contains(advisory) && page.contains(&format!("`{name}`")),
            "deploy/SECURITY.md does not name {advisory} of `{name}`"
        );
    }
}

/// Scanners look a crate up by its name alone, so a member that is called like a crate has its advisories.
#[test]
fn no_member_of_the_workspace_has_the_name_of_a_crate_in_the_lock_file() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let lock = include_str!("../../Cargo.lock");
    for package in packages
        .iter()
        .filter(|package| package["source"].is_null())
    {
        let name = format!("\nname = {}\n", package["name"]);
        assert_eq!(lock.matches(&name).count(), 1, "{name}");
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_says() {
    #[rustfmt::skip] // a list
    let cases = [
        "MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR MIT", "ISC AND (Apache-2.0 OR ISC) AND BSD-3-Clause",
    ];
    for fine in cases {
        assert!(allowed(fine), "{fine}");
    }
    #[rustfmt::skip] // a list
    let cases = [
        "", "none", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR LGPL-3.0) AND MIT",
        "GPL-2.0 WITH Classpath-exception-2.0", "MIT OR", "MIT MIT",
    ];
    for wrong in cases {
        assert!(!allowed(wrong), "{wrong}");
    }
}

/// The packages that `broker-core` is built from. Its own dependencies are few and named here; below them is nothing
/// that waits, encrypts connections, keeps files or calls the system.
#[test]
fn the_core_is_built_from_nothing_that_does_input_or_output() {
    let tree = |depth: &str| -> BTreeSet<String> {
        #[rustfmt::skip] // a list
        let kind = ["tree", "-p", "broker-core", "-e", "normal", "--depth", depth];
        let text = cargo(&[&kind[..], &["--prefix", "none", "--locked", "--offline"]].concat());
        let lines = text.lines().filter_map(|line| line.split(' ').next());
        lines.map(str::to_owned).collect()
    };
    let direct = tree("1");
    #[rustfmt::skip] // a list
    let expected = [
        "ahash", "aws-lc-rs", "broker-core", "data-encoding", "fastrand", "heliograph-codec", "ipnet", "jsonwebtoken",
        "postcard", "serde", "serde_json", "strum", "zeroize",
    ];
    assert_eq!(direct, expected.map(str::to_owned).into());
    let all = tree("99");
    assert!(all.contains("aws-lc-sys"), "{all:?}");
    let outside: Vec<_> = OUTSIDE.iter().filter(|name| all.contains(**name)).collect();
    assert!(outside.is_empty(), "{outside:?} below broker-core");
}

/// Packages of this workspace and of others by which a program reaches the world: runtimes, TLS, databases, threads,
/// system calls.
#[rustfmt::skip] // a list
const OUTSIDE: &[&str] = &[
    "axum", "broker", "broker-etcd", "crossbeam-channel", "getrandom", "glommio", "heliograph-link",
    "heliograph-mailbox", "heliograph-ring", "heliograph-store", "hyper", "io-uring", "libc", "mimalloc", "mio", "nix",
    "rand", "redb", "ring", "rustix", "rustls", "socket2", "tokio", "tonic", "tracing",
];

/// Known advisories.
const KNOWN: &str = "broker/tests/data/advisories.tsv";

fn metadata() -> Value {
    let text = cargo(&["metadata", "--locked", "--offline", "--format-version", "1"]);
    serde_json::from_str(&text).expect("JSON")
}

/// The output of cargo for these arguments.
fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo fetch --locked first: {said}"
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Whether an SPDX licence expression can be met by licences of the list alone.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ") // as older packages write it
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_ascii_whitespace().peekable();
    either(&mut words) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitAsciiWhitespace<'a>>;

/// Alternatives; nothing for what is no expression.
fn either(words: &mut Words<'_>) -> Option<bool> {
    let mut met = all(words)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words)?;
    }
    Some(met)
}

fn all(words: &mut Words<'_>) -> Option<bool> {
    let mut met = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words)?;
    }
    Some(met)
}

/// One licence, with an exception or without (an exception only adds rights), or an expression in parentheses.
fn one(words: &mut Words<'_>) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let met = either(words)?;
        return words.next_if_eq(&")").map(|_| met);
    }
    let met = ALLOWED.iter().any(|(name, _)| *name == word);
    if words.next_if_eq(&"WITH").is_some() {
        words.next()?;
    }
    Some(met)
}
