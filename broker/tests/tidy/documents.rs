//! The map and the changelog have a bound, decisions are in the index, what holds a decision exists, and code in
//! documentation is tested.

use super::pages::{Page, pages, root};
use std::fs;

const MAP: &str = "broker/ARCHITECTURE.md";
const CHANGELOG: &str = "CHANGELOG.md";
const DECISIONS: &str = "broker/decisions/";
const INDEX: &str = "broker/decisions/README.md";

/// Lines of the map, which is read as a whole.
const MAP_LINES_MAX: usize = 200;
/// Lines of one version of the changelog.
const VERSION_LINES_MAX: usize = 60;

#[test]
fn the_map_is_read_as_a_whole() {
    let lines = page(&pages(), MAP).lines().count();
    assert!(
        lines <= MAP_LINES_MAX,
        "{MAP}: {lines} lines, at most {MAP_LINES_MAX}: a decision has a page in {DECISIONS}"
    );
}

#[test]
fn a_version_of_the_changelog_has_a_bound() {
    let pages = pages();
    let versions: Vec<_> = page(&pages, CHANGELOG)
        .text
        .split("\n## ")
        .skip(1)
        .collect();
    assert!(!versions.is_empty(), "no version in {CHANGELOG}");
    for version in versions {
        let lines = version.lines().count();
        let name = version.lines().next().unwrap_or_default();
        assert!(
            lines <= VERSION_LINES_MAX,
            "{CHANGELOG}, {name}: {lines} lines, at most {VERSION_LINES_MAX}: shorten, or join lines of one reader"
        );
    }
}

#[test]
fn decisions_are_in_the_index() {
    let pages = pages();
    let index = &page(&pages, INDEX).text;
    for decision in decisions(&pages) {
        let name = decision.path.trim_start_matches(DECISIONS);
        assert!(
            index.contains(&format!("]({name})")),
            "{name}: is not in {INDEX}"
        );
    }
}

#[test]
fn what_holds_a_decision_exists() {
    let pages = pages();
    let mut faults = Vec::new();
    for decision in decisions(&pages) {
        let (_, held_by) = decision
            .text
            .split_once("\n**Held by**")
            .unwrap_or_default();
        let items: Vec<&str> = held_by.split("\n* ").skip(1).collect();
        if items.is_empty() {
            faults.push(format!("{}: nothing holds it", decision.path));
        }
        for item in items {
            let holder = item
                .strip_prefix('`')
                .and_then(|rest| rest.split('`').next());
            if !holder.is_some_and(holder_exists) {
                let item = item.lines().next().unwrap_or_default();
                faults.push(format!("{}: no such holder: {item}", decision.path));
            }
        }
    }
    assert!(faults.is_empty(), "decisions:\n{}", faults.join("\n"));
}

/// `doctest = false` saves the time to read a crate once more, where its documentation has drawings alone.
#[test]
fn crates_without_tests_of_their_documentation_have_no_code_in_it() {
    let pages = pages();
    let untested = pages
        .iter()
        .filter_map(|page| page.path.strip_suffix("/Cargo.toml").map(|it| (it, page)))
        .filter(|(_, page)| page.text.contains("\ndoctest = false"));
    let mut crates = 0;
    for (folder, _) in untested {
        crates += 1;
        let sources = format!("{folder}/src/");
        for page in pages.iter().filter(|it| it.path.starts_with(&sources)) {
            let fences = page.lines().filter(|(_, line)| {
                let line = line.trim_start();
                (line.starts_with("///") || line.starts_with("//!"))
                    && line[3..].trim_start().starts_with("```")
            });
            for (number, opens) in fences.step_by(2) {
                assert!(
                    opens.ends_with("```text"),
                    "{}:{number}: {opens}",
                    page.path
                );
            }
        }
    }
    assert!(crates > 0);
}

/// Whether a file of the workspace exists that has the name behind `::`, if there is one.
fn holder_exists(holder: &str) -> bool {
    let (path, name) = holder.split_once("::").unwrap_or((holder, ""));
    let file = root().join(path);
    if name.is_empty() {
        return path.contains('/') && file.exists();
    }
    fs::read_to_string(file).is_ok_and(|text| has_word(&text, name))
}

/// Whether a text has a name as a whole word.
fn has_word(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(|word| word == name)
}

fn decisions(pages: &[Page]) -> impl Iterator<Item = &Page> {
    pages
        .iter()
        .filter(|page| page.path.starts_with(DECISIONS) && page.path != INDEX)
}

fn page<'a>(pages: &'a [Page], path: &str) -> &'a Page {
    pages
        .iter()
        .find(|page| page.path == path)
        .unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn a_holder_is_a_file_or_a_whole_name_in_one() {
    assert!(holder_exists("broker/tests/tidy/documents.rs"));
    assert!(holder_exists(
        "broker/tests/tidy/documents.rs::MAP_LINES_MAX"
    ));
    assert!(!holder_exists("broker/tests/tidy/pages.rs::MAP_LINES_MAX"));
    assert!(!holder_exists("broker/tests/tidy/pages.rs::TEXT"));
    assert!(!holder_exists("broker/tests/tidy/absent.rs"));
}
