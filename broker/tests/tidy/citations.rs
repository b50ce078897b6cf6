//! Citations lead somewhere: pages that comments name, links between pages, rules of `codec/PROTOCOL.md` and the tests
//! that prove them.

use super::pages::{Page, pages};
use std::collections::BTreeSet;
use std::path::Path;

const PROTOCOL: &str = "codec/PROTOCOL.md";

#[test]
fn every_rule_of_the_wire_has_a_source_and_a_test_that_exists() {
    let pages = pages();
    let protocol = page(&pages, PROTOCOL);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for rule in protocol.text.split("\n**").skip(1) {
        let Some((id, text)) = rule.split_once(".**") else {
            continue;
        };
        if !seen.insert(id) {
            faults.push(format!("{id} occurs twice"));
        }
        // A rule ends where the next heading begins.
        let text = text.split("\n## ").next().unwrap_or_default();
        for part in ["\n* Source: ", "\n* Test: "] {
            if !text.contains(part) {
                faults.push(format!("{id} lacks{}", part.replace('\n', " ")));
            }
        }
        let proofs = text
            .split_once("\n* Test: ")
            .map_or("", |(_, proofs)| proofs);
        for test in code_spans(proofs).filter(|span| is_test(span)) {
            if !test_exists(&pages, test) {
                faults.push(format!("{id} cites {test}, which does not exist"));
            }
        }
    }
    assert!(seen.len() > 80, "the rules were not found: {seen:?}");
    assert!(faults.is_empty(), "{PROTOCOL}:\n{}", faults.join("\n"));
}

#[test]
fn every_rule_that_is_cited_exists() {
    let pages = pages();
    let rules: BTreeSet<&str> = page(&pages, PROTOCOL)
        .text
        .split("\n**")
        .filter_map(|rule| rule.split_once(".**"))
        .map(|(id, _)| id)
        .collect();
    let prefixes: BTreeSet<&str> = rules
        .iter()
        .filter_map(|id| id.split_once('-'))
        .map(|(prefix, _)| prefix)
        .collect();
    let mut cited = 0;
    let mut faults = Vec::new();
    for page in &pages {
        for (number, line) in page.lines() {
            // "PROTOCOL.md, KEEP" cites a group, "PROTOCOL.md, KEEP-3" a rule.
            for rest in line.split("PROTOCOL.md, ").skip(1) {
                let word = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                let word = word.into_iter().next().unwrap_or_default();
                if !rules.contains(word) && !prefixes.contains(word) && !word.is_empty() {
                    faults.push(format!("{}:{number}: {word}", page.path));
                }
            }
            for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
                let is_id = word.split_once('-').is_some_and(|(prefix, digits)| {
                    prefixes.contains(prefix) && digits.parse::<u16>().is_ok()
                });
                cited += usize::from(is_id);
                if is_id && !rules.contains(word) {
                    faults.push(format!("{}:{number}: {word}", page.path));
                }
            }
        }
    }
    assert!(cited > rules.len(), "comments cite rules");
    assert!(faults.is_empty(), "no such rule:\n{}", faults.join("\n"));
}

#[test]
fn every_page_that_is_named_exists() {
    let pages = pages();
    let mut faults = Vec::new();
    for page in &pages {
        for (number, line) in page.lines() {
            for name in line.split(|c: char| !(c.is_ascii_alphanumeric() || "._-/".contains(c))) {
                let name = name.trim_end_matches('.').trim_start_matches("./");
                let is_named = Path::new(name).extension().is_some_and(|end| end == "md");
                if is_named && !is_url(line, name) && !found(&pages, page, name) {
                    faults.push(format!("{}:{number}: {name}", page.path));
                }
            }
        }
    }
    assert!(faults.is_empty(), "no such page:\n{}", faults.join("\n"));
}

#[test]
fn every_link_leads_to_a_file() {
    let pages = pages();
    let root = super::pages::root();
    let mut faults = Vec::new();
    for page in pages.iter().filter(|page| page.is_markdown()) {
        for (number, line) in page.lines() {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                let is_file = !target.is_empty() && !target.contains("://");
                if is_file && !root.join(&page.path).with_file_name(target).exists() {
                    faults.push(format!("{}:{number}: {target}", page.path));
                }
            }
        }
    }
    assert!(faults.is_empty(), "broken links:\n{}", faults.join("\n"));
}

fn page<'a>(pages: &'a [Page], path: &str) -> &'a Page {
    pages
        .iter()
        .find(|page| page.path == path)
        .unwrap_or_else(|| panic!("no {path}"))
}

/// The texts between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a code span names a file of tests, or a test in it.
fn is_test(span: &str) -> bool {
    let path = span.split("::").next().unwrap_or_default();
    [".rs", ".py", ".mjs"]
        .iter()
        .any(|ending| path.ends_with(ending))
}

/// Whether a cited test exists: its path below a folder `tests` of any crate, or from the root when it begins with
/// `deploy/` or is named beside what it tests.
fn test_exists(pages: &[Page], test: &str) -> bool {
    let (path, name) = test.split_once("::").unwrap_or((test, ""));
    let below_tests = format!("/tests/{path}");
    let beside = path.contains("/src/") && !name.is_empty();
    let from_root = path.starts_with("deploy/") || beside;
    pages.iter().any(|page| {
        let is_file = (from_root && page.path == path) || page.path.ends_with(&below_tests);
        is_file && (name.is_empty() || page.text.contains(&format!("fn {name}(")))
    })
}

/// Whether a page of this name exists, seen from the root, from the page that names it, or in some folder.
fn found(pages: &[Page], from: &Page, name: &str) -> bool {
    let root = super::pages::root();
    let beside = root.join(&from.path).with_file_name(name);
    let ending = format!("/{name}");
    beside.exists()
        || pages
            .iter()
            .any(|page| page.path == name || page.path.ends_with(&ending))
}

/// Whether the name is part of a web address.
fn is_url(line: &str, name: &str) -> bool {
    line.contains("://") && name.contains('/')
}
