//! The weight of the sources has bounds: `tests/data/budgets.tsv`, today's figures. A change lowers them freely, and
//! raises one only with the reason in that file.

use super::pages::{Page, pages, root};
use super::tokens::{end_of, is_name, without_tests, words};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const BUDGETS: &str = "broker/tests/data/budgets.tsv";
/// Lines of code of a file that is too small to open.
const SMALL: usize = 60;
/// Parameters that a call can be read with.
const PARAMETERS_MAX: usize = 6;

#[test]
fn the_sources_weigh_no_more_than_they_may() {
    let text = fs::read_to_string(root().join(BUDGETS)).expect("the budgets");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let bounds: BTreeMap<&str, usize> = rows
        .map(|row| {
            let mut cells = row.split('\t');
            let (name, bound) = (cells.next(), cells.next().and_then(|it| it.parse().ok()));
            (name.expect("a name"), bound.expect("a figure"))
        })
        .collect();
    let found = figures(&pages());
    let faults: Vec<String> = found
        .iter()
        .filter(|(name, figure)| {
            bounds
                .get(name.as_str())
                .is_none_or(|bound| *figure > bound)
        })
        .map(|(name, figure)| format!("{name}\t{figure}"))
        .collect();
    assert!(
        faults.is_empty(),
        "more than {BUDGETS} allows; make it lighter, or write these rows there with the reason:\n{}",
        faults.join("\n")
    );
    let unknown: Vec<&&str> = bounds
        .keys()
        .filter(|name| !found.contains_key(**name))
        .collect();
    assert!(
        unknown.is_empty(),
        "{BUDGETS} bounds what is not measured: {unknown:?}"
    );
}

/// Everything that has a bound.
fn figures(pages: &[Page]) -> BTreeMap<String, usize> {
    let sources: Vec<&Page> = pages.iter().filter(|page| page.ends_with("rs")).collect();
    let of_tests: BTreeSet<String> = sources
        .iter()
        .flat_map(|page| files_of_tests(page))
        .collect();
    let mut found = BTreeMap::new();
    let mut add = |name: &str, more: usize| *found.entry(name.to_owned()).or_insert(0) += more;
    let (mut folders, mut deepest) = (BTreeSet::new(), 0);
    let mut bare_types: BTreeMap<&str, usize> = BTreeMap::new();
    for page in sources {
        let (place, name) = page.path.split_once("/src/").unwrap_or(("", &page.path));
        let is_test = of_tests.iter().any(|test| is_below(&page.path, test))
            || page.path.contains("/tests/")
            || page.path.ends_with("/tests.rs")
            || place == "broker/testkit";
        if page.path.contains("/examples/") || page.path.starts_with("benches/") {
            continue;
        }
        let code = production(&page.text);
        let (all, code_lines) = (code_lines(&page.text), code_lines(code));
        if is_test {
            add("tests", all);
            continue;
        }
        add("tests", all - code_lines);
        add("production", code_lines);
        add(&format!("production of {place}"), code_lines);
        add("files", 1);
        add("small files", usize::from(code_lines <= SMALL));
        folders.insert(page.path.rsplit_once('/').map_or("", |(folder, _)| folder));
        deepest = deepest.max(name.matches('/').count());
        for (parameters, has_tuple) in functions(code) {
            add("functions with a tuple parameter", usize::from(has_tuple));
            add(
                "functions with more than six parameters",
                usize::from(parameters > PARAMETERS_MAX),
            );
        }
        add(
            "visibility by path",
            code.matches("pub(in ").count() + code.matches("pub(super)").count(),
        );
        add("signatures over several lines", wide_signatures(code));
        add("doc comments that begin with a pronoun", pronouns(code));
        for name in bare_type_names(code) {
            *bare_types.entry(name).or_insert(0) += 1;
        }
    }
    let shared = bare_types.values().filter(|files| **files > 1).count();
    add("type names of one word in several files", shared);
    add("folders", folders.len());
    add("folders below src, the deepest", deepest);
    found
}

/// The part of a source before the module of its tests.
pub(crate) fn production(text: &str) -> &str {
    let end = text.match_indices("#[cfg(test)]\n").find(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let module = rest.lines().find(|line| !line.starts_with('#'));
        module.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Lines that are neither blank nor comments.
pub(crate) fn code_lines(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// The modules that a source declares for tests alone, by their paths without the ending.
fn files_of_tests(page: &Page) -> Vec<String> {
    let (folder, name) = page.path.rsplit_once('/').unwrap_or(("", &page.path));
    let inside = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => page.path.trim_end_matches(".rs").to_owned(),
    };
    let behind = page.text.split("#[cfg(test)]\n").skip(1);
    let modules = behind.filter_map(|rest| {
        let line = rest.lines().find(|line| !line.starts_with('#'))?;
        let name = line.strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some(format!("{inside}/{name}"))
    });
    modules.collect()
}

fn is_below(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Signatures that do not fit on one line.
fn wide_signatures(code: &str) -> usize {
    let begins = |line: &str| {
        let head = line.split("fn ").next().unwrap_or_default();
        let mut before = head.split_whitespace();
        line.contains("fn ") && before.all(|word| MODIFIERS.contains(&word))
    };
    let lines = code.lines().map(str::trim);
    lines
        .filter(|line| begins(line) && !line.contains('{') && !line.ends_with(';'))
        .count()
}

/// Doc comments that do not begin with what they are about.
fn pronouns(code: &str) -> usize {
    let texts = code.lines().map(|line| line.trim().strip_prefix("///"));
    let mut before = None;
    let first = texts.filter(|text| std::mem::replace(&mut before, *text).is_none());
    let begins = |text: &str| {
        let text = text.trim_start();
        let word = text.split(|letter: char| !letter.is_alphabetic()).next();
        PRONOUNS.split(' ').any(|it| word == Some(it)) || text.starts_with("The same")
    };
    first.flatten().filter(|text| begins(text)).count()
}

/// Types that a source defines under a name of one word, which says nothing outside of it.
fn bare_type_names(code: &str) -> BTreeSet<&str> {
    fn name(line: &str) -> Option<&str> {
        let mut words = line.split(|letter: char| !letter.is_alphanumeric());
        let kind = words.find(|word| !["pub", "crate", ""].contains(word))?;
        let name = words.next()?;
        let is_type = ["struct", "enum", "trait", "type"].contains(&kind) && !line.starts_with(' ');
        (is_type && name.matches(char::is_uppercase).count() == 1).then_some(name)
    }
    code.lines().filter_map(name).collect()
}

/// Words before `fn`.
const MODIFIERS: [&str; 6] = ["pub", "pub(crate)", "const", "async", "unsafe", "extern"];

/// Words with which no doc comment should begin.
const PRONOUNS: &str = "It Its That Those This These They Them Their Who Whose What Whatever";

/// The functions of a source: how many parameters each has, tuples taken apart, and whether one is a tuple.
fn functions(text: &str) -> Vec<(usize, bool)> {
    let words = without_tests(words(text));
    let mut found = Vec::new();
    for place in 0..words.len().saturating_sub(2) {
        if words[place] != "fn" || !is_name(&words[place + 1]) {
            continue;
        }
        // Behind the name and the generics, in which a bound such as `Fn(A)` has brackets of its own.
        let mut open = place + 2;
        let mut depth = 0;
        while open < words.len() && (depth > 0 || words[open] != "(") {
            let is_arrow = words[open] == ">" && words[open - 1] == "-";
            depth += i32::from(words[open] == "<") - i32::from(words[open] == ">" && !is_arrow);
            open += 1;
        }
        let end = end_of(&words, open);
        found.push(parameters(&words[open + 1..end - 1]));
    }
    found
}

fn parameters(words: &[String]) -> (usize, bool) {
    let mut depth = 0;
    let parts = words.split(|word| {
        depth += i32::from(matches!(word.as_str(), "(" | "[" | "<" | "{"));
        depth -= i32::from(matches!(word.as_str(), ")" | "]" | ">" | "}"));
        depth == 0 && word == ","
    });
    let parts: Vec<&[String]> = parts.filter(|part| !part.is_empty()).collect();
    let is_tuple = |part: &&[String]| part[0] == "(";
    let count = parts.iter().map(|part| {
        let pattern = part.split(|word| word == ":").next().unwrap_or_default();
        if is_tuple(part) {
            pattern.iter().filter(|word| *word == ",").count() + 1
        } else {
            1
        }
    });
    (count.sum(), parts.iter().any(is_tuple))
}

#[test]
fn signatures_names_and_pronouns_are_counted() {
    let text = "/// It waits.\nfn one(\n    a: A,\n) {}\n/// A word.\n/// That goes on.\npub const fn two() {}\n\
                    /// The same, later.\npub(crate) struct Entry;\nenum SlotEntry {\n    /// Its end.\n    Done,\n}\n\
                pub trait Reader {\n    type Output;\n    fn read(&self);\n}\n";
    assert_eq!((wide_signatures(text), pronouns(text)), (1, 3));
    assert_eq!(bare_type_names(text), BTreeSet::from(["Entry", "Reader"]));
}

#[test]
fn functions_are_counted_with_their_parameters() {
    let text = "fn one(&self) {} fn two<F: Fn(A, B) -> C>((a, b): (A, B), c: Map<A, B>) {} \
                #[cfg(test)] mod tests { fn three(a: A) {} } type Four = fn(A, B);";
    assert_eq!(functions(text), [(1, false), (3, true)]);
    let text = "use a;\n\n// Why.\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!((code_lines(text), code_lines(production(text))), (5, 2));
}
