//! A source as names and marks.

/// Leaves out what is only there under test: the item behind `#[cfg(test)]`, or behind `#[cfg(all(test, …))]`.
pub(crate) fn without_tests(words: Vec<String>) -> Vec<String> {
    let mut left = Vec::new();
    let mut place = 0;
    while place < words.len() {
        let ahead = |marks: &[&str]| words[place..].iter().take(marks.len()).eq(marks.iter());
        if ahead(&["#", "[", "cfg", "(", "test"])
            || ahead(&["#", "[", "cfg", "(", "all", "(", "test"])
        {
            place = end_of(&words, place + 1);
            while place < words.len() && !matches!(words[place].as_str(), ";" | "," | "{") {
                place = match words[place].as_str() {
                    "(" | "[" => end_of(&words, place),
                    _ => place + 1,
                };
            }
            place = match words.get(place).map(String::as_str) {
                Some("{") => end_of(&words, place),
                _ => place + 1,
            };
        } else {
            left.push(words[place].clone());
            place += 1;
        }
    }
    left
}

/// The place behind the bracket that closes the one at `open`.
pub(crate) fn end_of(words: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (place, word) in words.iter().enumerate().skip(open) {
        depth += i32::from(matches!(word.as_str(), "(" | "[" | "{"));
        depth -= i32::from(matches!(word.as_str(), ")" | "]" | "}"));
        if depth == 0 {
            return place + 1;
        }
    }
    words.len()
}

/// Whether it is a name or a keyword, not a mark.
pub(crate) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// The names and marks of a text, `::` as one mark; no comments, and nothing that is quoted.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = if let Some(quoted) = quoted(rest) {
            quoted
        } else if is_of_name(first) {
            let length = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            found.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The length of a comment or of something quoted at the beginning of a text.
fn quoted(text: &str) -> Option<usize> {
    let until = |end: &str, from: usize| {
        let found = text[from..].find(end);
        found.map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return Some(until("\n", 0));
    }
    if text.starts_with("/*") {
        return Some(until("*/", 2));
    }
    let raw = text.strip_prefix('b').unwrap_or(text).strip_prefix('r');
    if let Some(raw) = raw {
        let marks = raw.len() - raw.trim_start_matches('#').len();
        if raw[marks..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(marks));
            return Some(until(&end, text.len() - raw.len() + marks + 1));
        }
    }
    let mut chars = text.char_indices();
    match chars.next()?.1 {
        '"' => {
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => drop(chars.next()),
                    '"' => return Some(at + 1),
                    _ => {}
                }
            }
            Some(text.len())
        }
        // A character, not a lifetime.
        '\'' => match (chars.next()?.1, chars.next()?) {
            ('\\', _) => Some(until("'", 3)),
            (_, (at, '\'')) => Some(at + 1),
            _ => None,
        },
        _ => None,
    }
}
