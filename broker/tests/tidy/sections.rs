//! Sections that texts name exist: anchors of links and runbooks, and headings in quotes behind the name of a page.

use super::pages::{Page, pages};
use std::fmt;

#[test]
fn every_section_that_is_named_is_a_heading() {
    let pages = pages();
    let (mut cited, mut faults) = (0, Vec::new());
    for page in &pages {
        for (number, line) in page.lines() {
            for section in sections(page, line) {
                cited += 1;
                let target = cited_page(&pages, page, section.page);
                if !target.is_some_and(|target| section.is_in(target)) {
                    let place = format!("{}:{number}", page.path);
                    faults.push(format!("{place}: {}, {}", section.page, section.name));
                }
            }
        }
    }
    assert!(cited > 50, "{cited} sections are named");
    assert!(faults.is_empty(), "no such heading:\n{}", faults.join("\n"));
}

/// A section that a line names.
#[derive(Debug, PartialEq, Eq)]
struct Section<'l> {
    /// As it is written there; empty for the page of the line.
    page: &'l str,
    name: Name<'l>,
}

#[derive(Debug, PartialEq, Eq)]
enum Name<'l> {
    /// Behind a `#` that follows the page's name; in Markdown also alone in a link.
    Anchor(&'l str),
    /// In quotes behind the page's name and a comma; as much of it as is on the line.
    Heading(&'l str),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchor(anchor) => write!(f, "#{anchor}"),
            Self::Heading(heading) => write!(f, "\"{heading}\""),
        }
    }
}

impl Section<'_> {
    /// Whether the page has its heading.
    fn is_in(&self, page: &Page) -> bool {
        headings(page).any(|heading| match self.name {
            Name::Anchor(name) => anchor(heading) == name,
            Name::Heading(name) => heading.starts_with(name),
        })
    }
}

/// The sections that a line names by page and anchor, or by page and heading.
fn sections<'l>(page: &Page, line: &'l str) -> Vec<Section<'l>> {
    let is_text = |rest: &&str| rest.starts_with(char::is_alphanumeric);
    let mut sections = Vec::new();
    for (at, _) in line.match_indices(".md") {
        let (before, rest) = line.split_at(at + ".md".len());
        let begin = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || "._-/:".contains(c)));
        let page = &before[begin.map_or(0, |at| at + 1)..];
        let rest = rest.trim_start_matches('`');
        if page.contains("://") {
            continue;
        } else if let Some(rest) = rest.strip_prefix('#').filter(is_text) {
            let name = Name::Anchor(anchor_of(rest));
            sections.push(Section { page, name });
        } else if let Some(rest) = rest.strip_prefix(", \"").filter(is_text) {
            let name = Name::Heading(rest.split('"').next().unwrap_or_default());
            sections.push(Section { page, name });
        }
    }
    let own = line.split("](#").skip(1).filter(|_| page.is_markdown());
    sections.extend(own.map(|rest| Section {
        page: "",
        name: Name::Anchor(anchor_of(rest)),
    }));
    sections
}

/// The anchor that a text begins with.
fn anchor_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "-_".contains(c)));
    &text[..end.unwrap_or(text.len())]
}

/// The page that a text means by a name: seen from its folder, or from the root.
fn cited_page<'a>(pages: &'a [Page], from: &'a Page, name: &str) -> Option<&'a Page> {
    if name.is_empty() {
        return Some(from);
    }
    let mut path: Vec<&str> = from.path.split('/').collect();
    path.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    let beside = path.join("/");
    let of_path = |path: &str| pages.iter().find(|page| page.path == path);
    of_path(&beside).or_else(|| of_path(name))
}

/// The headings of a page, without those that are comments of its blocks.
fn headings(page: &Page) -> impl Iterator<Item = &str> {
    let mut is_block = false;
    page.text.lines().filter_map(move |line| {
        is_block ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        (!is_block && line.starts_with('#')).then(|| heading.trim())
    })
}

/// The anchor that a reader's browser gets for a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let lower = heading.to_lowercase();
    lower
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn sections_are_found_where_texts_name_them() {
    let page = |path: &str, text: &str| Page {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let text = "# A page\n\n```sh\n# no heading\n```\n\n## Faults: `/dev/faults`\n";
    let pages = [
        page("deploy/README.md", text),
        page("deploy/testing/README.md", ""),
    ];
    let found = |line: &str| -> Vec<bool> {
        let line = line.replace("PAGE", "README.md");
        let from = &pages[1];
        let is_found = |section: &Section<'_>| {
            let target = cited_page(&pages, from, section.page);
            target.is_some_and(|target| section.is_in(target))
        };
        sections(from, &line).iter().map(is_found).collect()
    };
    let anchors = "[a](../PAGE#faults-devfaults), deploy/PAGE#a-page. [b](#a-page)";
    assert_eq!(found(anchors), [true, true, false]);
    let others = "deploy/PAGE#faults, deploy/PAGE#no-heading, ../../PAGE#a-page";
    assert_eq!(found(others), [false; 3]);
    let headings = "`deploy/PAGE`, \"Faults\"; deploy/PAGE, \"A book\"; ../PAGE, \"A pa";
    assert_eq!(found(headings), [true, false, true]);
    assert_eq!(found("https://a.example/PAGE#faults, PAGE"), [false; 0]);
}
