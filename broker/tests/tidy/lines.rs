//! Lines have a bound.

use super::pages::pages;

const COLUMNS_MAX: usize = 120;

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
