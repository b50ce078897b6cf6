//! The table of `deploy/INSTALL.md` that has every file that a server reads: made from the code, and whole.

#![expect(clippy::unwrap_used, reason = "support code of tests")]

use broker::side::{READ_FILES, reloaded};
use broker_core::settings::{KEYS, Kind};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::assert_golden;

const BEGIN: &str = "<!-- made from broker/src/side/read_files.rs by RENEW=1 cargo test --test checks read_files -->\n";
const END: &str = "<!-- end of what is made -->\n";

#[test]
fn the_page_has_the_table_of_the_code() {
    let deploy = root().join("deploy");
    let page = fs::read_to_string(deploy.join("INSTALL.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("its end");
    let mut table = "| file | watched | SIGHUP | a fault | `heliograph_reload_ok{what}` | test |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    for row in READ_FILES {
        table += &format!("{row}\n");
    }
    let whole = format!("{before}{BEGIN}{table}{END}{after}");
    assert_golden(deploy.to_str().unwrap(), "INSTALL.md", &whole);
}

#[test]
fn every_key_that_names_a_file_is_in_a_row() {
    let named = |key: &str| {
        let key = format!("`{key}`");
        READ_FILES.iter().any(|row| row.files.contains(&key))
    };
    for key in KEYS {
        let is_file = matches!(key.kind, Kind::Path { .. } | Kind::Paths { .. });
        // The files in it have names of their own.
        if is_file && key.path != "data_dir" {
            assert!(named(key.path), "{}: add it to READ_FILES", key.path);
        }
    }
    let names: Vec<_> = reloaded().collect();
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), different.len(), "a subject has a row");
}

/// A test that is named in the table is there, and no subject of reloads is without a row.
#[test]
fn tests_of_rows_and_subjects_of_reloads_are_there() {
    let mut sources = String::new();
    for folder in ["broker/tests", "broker/src/server"] {
        read_all(&root().join(folder), &mut sources);
    }
    for row in READ_FILES {
        let test = format!("fn {}()", row.test);
        assert!(sources.contains(&test), "{test}");
    }
    let subjects = sources.matches("\nimpl Reloadable for ").count();
    assert_eq!(subjects, reloaded().count(), "a row for each");
}

fn read_all(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs") {
            *sources += &fs::read_to_string(&path).unwrap();
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
