//! Comments begin with the thing that they are about.

use crate::pages::{Page, pages};

/// Words with which no paragraph of a comment begins: what follows them is a riddle where a noun names the thing.
const RIDDLES: [&str; 6] = ["What", "Who", "Whose", "Whom", "How", "Where"];

#[test]
fn comments_name_the_thing() {
    let pages = pages();
    let faults: Vec<String> = riddles(&pages).collect();
    assert!(
        faults.is_empty(),
        "a noun or a verb in front instead of {RIDDLES:?}:\n{}",
        faults.join("\n")
    );
}

/// The first lines of such paragraphs, with their places.
pub(crate) fn riddles(pages: &[Page]) -> impl Iterator<Item = String> + '_ {
    let sources = pages.iter().filter(|page| page.ends_with("rs"));
    let sources = sources.filter(|page| !page.path.ends_with("generated.rs"));
    sources.flat_map(|page| {
        let lines = begun_by_a_riddle(&page.text).into_iter();
        lines.map(|(number, line)| format!("{}:{number}: {line}", page.path))
    })
}

fn begun_by_a_riddle(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut begins = true;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        let Some(comment) = line.strip_prefix("//") else {
            begins = true;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim();
        let first = comment.split(|c: char| !c.is_alphanumeric()).next();
        if begins && first.is_some_and(|word| RIDDLES.contains(&word)) {
            found.push((number, line));
        }
        begins = comment.is_empty();
    }
    found
}

#[test]
fn a_riddle_is_found_where_a_paragraph_begins() {
    let numbers = |text| {
        let found = begun_by_a_riddle(text).into_iter();
        found.map(|(number, _)| number).collect::<Vec<usize>>()
    };
    assert_eq!(
        numbers("/// What is left.\n/// How it ends.\nfn one() {}"),
        [1]
    );
    assert_eq!(numbers("//! A shard.\n//!\n//! Where it lives."), [3]);
    assert_eq!(
        numbers("    /// Whose turn it is.\n    turn: u32,\n    /// Who.\n"),
        [1, 3]
    );
    assert_eq!(
        numbers("/// Whatever comes.\n/// Howl\nlet What = 1;\n// What is left is code.\n"),
        [4]
    );
}
