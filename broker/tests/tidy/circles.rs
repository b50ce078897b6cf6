//! Files that cannot be read one at a time, and folders that cannot be overlooked: each has a bound, in every crate.

use super::imports::Crate;
use super::pages::root;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files that may import each other in a circle: two that are one thought, or three.
const CIRCLE_MAX: usize = 3;
/// Files of sources that a folder may hold, those of its sub-folders not counted.
const FOLDER_MAX: usize = 30;

/// Larger circles, by the module that all their files are in: at most this many files until it is taken apart.
const CIRCLES: &[(&str, usize)] = &[];
/// Larger folders: at most this many files until it is divided.
const FOLDERS: &[(&str, usize)] = &[
    // Scripts and documents name these tests by their modules.
    ("broker/tests/live/attacks", 32),
];
/// The largest program of tests, whose folders are held to the same bound.
const LIVE_TESTS: &str = "broker/tests/live";

#[test]
fn few_files_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for member in members() {
        for circle in read(&member).circles() {
            let files = circle.join(", ");
            let name = format!("{member}: {}", common(&circle));
            found.push((name, circle.len(), files));
        }
    }
    assert!(!found.is_empty(), "no file imports another");
    let faults = faults(found, CIRCLE_MAX, CIRCLES);
    assert!(faults.is_empty(), "circles:\n{}", faults.join("\n"));
}

#[test]
fn a_folder_of_sources_can_be_overlooked() {
    let mut found = folders(sources());
    found.extend(folders(vec![LIVE_TESTS.to_owned()]));
    let faults = faults(found, FOLDER_MAX, FOLDERS);
    assert!(faults.is_empty(), "folders:\n{}", faults.join("\n"));
}

/// All folders of the crates' sources.
fn sources() -> Vec<String> {
    let members = members();
    members.iter().map(|name| format!("{name}/src")).collect()
}

/// These folders and all below them, and the files in each.
fn folders(mut open: Vec<String>) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(root().join(&folder)).expect("a folder of sources");
        let mut files = 0;
        for entry in entries {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                open.push(format!("{folder}/{name}"));
            } else {
                files += usize::from(name.ends_with(".rs"));
            }
        }
        found.push((folder, files, String::new()));
    }
    found
}

/// A part is a file of `broker/src` or a folder with all that is in it.
#[test]
fn parts_of_the_broker_form_no_loop() {
    let loops = read("broker").circles_of_parts();
    assert!(loops.is_empty(), "loops: {loops:?}");
}

/// Names above their bound, that of all or their own; and bounds of their own that are too high, or of nothing.
fn faults(
    found: Vec<(String, usize, String)>,
    most: usize,
    exceptions: &[(&str, usize)],
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut left: BTreeMap<&str, usize> = exceptions.iter().copied().collect();
    for (name, files, which) in found.into_iter().filter(|(_, files, _)| *files > most) {
        let allowed = left.remove(name.as_str());
        match allowed {
            Some(allowed) if files == allowed => {}
            Some(allowed) if files < allowed => {
                faults.push(format!(
                    "{name}: {files} files: write {files}, not {allowed}, into the list"
                ));
            }
            Some(_) | None => {
                let allowed = allowed.unwrap_or(most);
                faults.push(format!("{name}: {files} files, at most {allowed}: {which}"));
            }
        }
    }
    let unused = left.into_iter();
    faults.extend(unused.map(|(name, _)| format!("{name}: {most} or fewer: take it off the list")));
    faults
}

/// The module that has all files of a circle.
fn common(circle: &[String]) -> String {
    let mut paths = circle.iter().map(|name| name.split("::"));
    let first: Vec<&str> = paths.next().into_iter().flatten().collect();
    let shared = paths.fold(first.len(), |shared, path| {
        let same = path.zip(&first).take_while(|(one, other)| one == *other);
        same.count().min(shared)
    });
    match shared {
        0 => "crate".to_owned(),
        _ => first[..shared].join("::"),
    }
}

fn read(member: &str) -> Crate {
    let text = |file: &str| fs::read_to_string(root().join(file)).ok();
    Crate::read(&format!("{member}/src/lib.rs"), &text)
}

/// The folders of all crates.
fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let line = manifest.lines().find(|line| line.starts_with("members = "));
    let names = line.expect("the members").split('"').skip(1).step_by(2);
    let names: Vec<String> = names.map(str::to_owned).collect();
    let has_sources = |name: &String| Path::new(&root()).join(name).join("src/lib.rs").exists();
    assert!(names.iter().all(has_sources), "a crate without src/lib.rs");
    names
}

#[test]
fn exceptions_only_shrink() {
    let faults = |files: usize, exceptions: &[(&str, usize)]| {
        let found = vec![("one".to_owned(), files, String::new())];
        faults(found, 3, exceptions).len()
    };
    assert_eq!((faults(3, &[]), faults(4, &[])), (0, 1));
    let bound = [("one", 5)];
    assert_eq!((faults(5, &bound), faults(6, &bound)), (0, 1));
    assert_eq!((faults(4, &bound), faults(3, &bound)), (1, 1));
    assert_eq!(faults(3, &[("other", 5)]), 1);
}
