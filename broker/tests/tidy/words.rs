//! Texts are in plain words, and lines have a bound.

use crate::pages::{Page, pages};

/// Words of a dialect, and what to write instead. In prose only: comments, string literals and Markdown.
const PLAIN_WORDS: &[(&str, &str)] = &[
    ("whoever", "the client that, anyone who"),
    ("whomever", "the client that"),
    ("so many", "the number, this many"),
    (
        "is told",
        "gets, learns, is notified; is logged, is reported",
    ),
    (
        "are told",
        "get, learn, are notified; are logged, are reported",
    ),
    ("was told", "got, was notified; was logged, was reported"),
    (
        "were told",
        "got, were notified; were logged, were reported",
    ),
    ("be told", "be notified, be reported; be distinguished"),
    ("told of", "reported, logged"),
    ("hears", "receives, gets"),
    ("hear", "receive, get"),
    ("heard", "received"),
    ("stands in", "is in"),
    ("stands at", "is at"),
    ("stands there", "is there, occurs"),
    ("rests", "pauses, no longer changes"),
    ("lets go of", "releases"),
    ("let go of", "release"),
    ("goes away", "leaves, stops"),
    ("went away", "left"),
    ("come into being", "are created"),
    ("comes into being", "is created"),
    ("came into being", "were created"),
    ("at hand", "available, cached, in memory"),
    ("no good", "invalid"),
    ("lawful", "valid, allowed"),
    ("unlawful", "invalid, not allowed"),
    ("likewise", "also, the same"),
    ("anew", "again"),
    ("for ever", "forever"),
    ("but for", "except"),
    ("the house", "the project, the process"),
    ("himself", "itself, themselves"),
    ("his", "its, their"),
    ("he", "it, they"),
];

#[test]
fn texts_are_in_plain_words() {
    let mut faults = Vec::new();
    for page in pages() {
        if page.path.ends_with("tests/tidy/words.rs") {
            continue;
        }
        for (number, line) in page.lines() {
            let words = words_of(&prose(&page, line));
            for (banned, better) in PLAIN_WORDS {
                if words.contains(&format!(" {banned} ")) {
                    faults.push(format!(
                        "{}:{number}: \"{banned}\", write: {better}",
                        page.path
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "dialect:\n{}", faults.join("\n"));
}

#[test]
fn no_line_is_longer_than_a_screen_is_wide() {
    let mut faults = Vec::new();
    let pages = pages();
    let prose_pages = pages
        .iter()
        .filter(|page| page.is_markdown() || page.ends_with("rs"));
    for page in prose_pages {
        let mut quoted = false;
        for (number, line) in page.lines() {
            let columns = line.chars().count();
            let is_table = page.is_markdown() && line.starts_with('|');
            let opens = line.matches("r#\"").count();
            let closes = line.matches("\"#").count();
            // Texts in raw quotes are data, byte for byte.
            let is_data = quoted || opens > 0;
            quoted = (quoted || opens > closes) && closes <= opens;
            if columns > COLUMNS_MAX && !is_table && !is_data {
                faults.push(format!("{}:{number}: {columns} columns", page.path));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "at most {COLUMNS_MAX} columns:\n{}",
        faults.join("\n")
    );
}

/// The part of a line that is written for readers: all of Markdown, comments, and string literals of Rust.
fn prose(page: &Page, line: &str) -> String {
    let comment = |mark: &str| line.find(mark).map_or("", |at| &line[at..]).to_owned();
    if page.is_markdown() {
        line.to_owned()
    } else if !page.ends_with("rs") {
        comment(if page.ends_with("mjs") { "//" } else { "#" })
    } else if line.trim_start().starts_with("//") {
        line.to_owned()
    } else {
        let literals: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        format!("{} {}", literals.join(" | "), comment(" // "))
    }
}

/// The words of a text in lower case, each between single spaces; what is between words otherwise is a `.`.
fn words_of(text: &str) -> String {
    let mut words = String::from(" ");
    let mut between = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || c == '_' {
            if !between.is_empty() {
                if !words.ends_with(' ') {
                    words.push(' ');
                }
                if !between.chars().all(char::is_whitespace) {
                    words.push_str(". ");
                }
                between.clear();
            }
            words.extend(c.to_lowercase());
        } else {
            between.push(c);
        }
    }
    words.push(' ');
    words
}

const COLUMNS_MAX: usize = 120;

#[test]
fn words_are_found_between_signs_and_not_across_them() {
    assert_eq!(
        words_of("// He, himself: so  many;"),
        " . he . himself . so many "
    );
    assert!(!words_of("so. Many, he_said").contains(" so many "));
}
