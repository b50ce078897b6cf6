//! The fenced blocks of a page, and what becomes of each: `deploy/conformance/README.md`, "Blocks of the pages".

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Path of the page, from the root of the repository.
    pub(crate) page: String,
    /// Number of its first line.
    line: usize,
    /// The heading of the second level above it.
    pub(crate) section: String,
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// The treatment of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commands of an ordinary user.
    Run,
    /// A command that serves until it is ended: the next blocks run beside it.
    Server,
    /// The content of a file, and its path.
    File(String),
    /// Output that the page's commands must have printed.
    Printed,
    /// Commands that change the system.
    Root,
    /// Commands on a machine where the service is installed.
    Service,
    /// Commands that need a registry of packages.
    Network,
    /// Commands that need a name, an authority or machines of the reader's own.
    Domain,
    /// Output, or an excerpt, that nothing is compared with.
    Output,
    /// Run by another test; with the path of its file, if it is one.
    Elsewhere(Option<String>),
}

impl Kind {
    /// The name that it is counted under; that of a mark is the mark.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Server => "server",
            Self::File(_) => "file",
            Self::Printed => "printed",
            Self::Root => "root",
            Self::Service => "service",
            Self::Network => "network",
            Self::Domain => "domain",
            Self::Output => "output",
            Self::Elsewhere(_) => "elsewhere",
        }
    }
}

/// The marks, closed: `<!-- block: NAME -->` before the fence, `<!-- blocks: NAME -->` for a whole page.
#[rustfmt::skip] // a list
const MARKS: [Kind; 6] = [Kind::Server, Kind::Root, Kind::Service, Kind::Network, Kind::Domain, Kind::Output];

/// Blocks that other tests run: page, section (empty: any), language, how many, and the test, which names `README.md`
/// or the page.
#[rustfmt::skip] // a table, a case per row
pub(crate) const ELSEWHERE: [(&str, &str, &str, usize, &str); 5] = [
    ("README.md", "Install", "sh", 3, "broker/tests/packages.rs"),
    ("deploy/CLUSTER.md", "Three nodes on one machine", "sh", 4, "broker/tests/live/cluster_netns/page.rs"),
    ("deploy/testing/README.md", "", "python", 1, "deploy/conformance/python/test_plugin.py"),
    ("deploy/testing/js/README.md", "", "js", 2, "deploy/conformance/js/helper.mjs"),
    ("deploy/testing/python/README.md", "", "python", 3, "deploy/conformance/python/test_plugin.py"),
];

impl Block {
    /// Page and line, as editors take it.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

/// Every page whose blocks are run.
pub(crate) fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    pages.extend(markdown("deploy", |_| true));
    let mut folders = vec![PathBuf::from("deploy/testing")];
    while let Some(folder) = folders.pop() {
        let folder = folder.to_str().expect("a path in UTF-8").to_owned();
        pages.extend(markdown(&folder, |name| name == "README.md"));
        for entry in fs::read_dir(super::super::workspace().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            if entry.path().is_dir() && name != "node_modules" {
                folders.push(Path::new(&folder).join(name));
            }
        }
    }
    pages.sort();
    pages
}

fn markdown(folder: &str, wanted: fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(super::super::workspace().join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let names = names.filter(|name| name.ends_with(".md") && wanted(name));
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// The blocks of a page in order, or what is wrong with one.
pub(crate) fn blocks(page: &str, text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let (mut section, mut whole) = (String::new(), None);
    let mut lines = text.lines().enumerate();
    let mut above: Vec<&str> = Vec::new();
    while let Some((index, line)) = lines.next() {
        let (line, place) = (line.trim(), format!("{page}:{}", index + 1));
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        } else if let Some(mark) = between(line, "<!-- blocks:", "-->") {
            whole = Some(marked(mark, &place)?);
        } else if let Some(language) = line.strip_prefix("```") {
            let mut content = String::new();
            loop {
                let (_, line) = lines
                    .next()
                    .ok_or_else(|| format!("{place}: it does not end"))?;
                if line.trim() == "```" {
                    break;
                }
                content.push_str(line);
                content.push('\n');
            }
            let own = above
                .last()
                .and_then(|mark| between(mark, "<!-- block:", "-->"));
            let kind = match own
                .map(|mark| marked(mark, &place))
                .transpose()?
                .or_else(|| whole.clone())
            {
                Some(kind) => kind,
                None => kind(page, &section, language.trim(), &above, &place)?,
            };
            blocks.push(Block {
                page: page.to_owned(),
                line: index + 1,
                section: section.clone(),
                text: content,
                kind,
            });
        }
        above.push(line);
    }
    Ok(blocks)
}

/// The treatment of a block without a mark.
fn kind(
    page: &str,
    section: &str,
    language: &str,
    above: &[&str],
    place: &str,
) -> Result<Kind, String> {
    let elsewhere = ELSEWHERE
        .iter()
        .any(|(its_page, its_section, its_language, ..)| {
            *its_page == page
                && *its_language == language
                && (its_section.is_empty() || *its_section == section)
        });
    match language {
        _ if elsewhere => Ok(Kind::Elsewhere(file_name(above))),
        "sh" | "bash" => Ok(Kind::Run),
        "text" => Ok(Kind::Printed),
        _ => file_name(above).map(Kind::File).ok_or_else(|| format!(
            "{place}: nobody runs a block of {language:?}: it needs the name of its file before it, or a mark"
        )),
    }
}

/// The path that begins the paragraph above, in backquotes.
pub(crate) fn file_name(above: &[&str]) -> Option<String> {
    let paragraph = above.iter().rev().skip_while(|line| line.is_empty());
    let first = paragraph.take_while(|line| !line.is_empty()).last()?;
    let (name, _) = first.strip_prefix('`')?.split_once('`')?;
    let is_path = name.contains('.') && !name.contains(' ') && !name.starts_with('/');
    is_path.then(|| name.to_owned())
}

fn marked(mark: &str, place: &str) -> Result<Kind, String> {
    let found = MARKS.iter().find(|kind| kind.name() == mark);
    found.cloned().ok_or_else(|| {
        let allowed: Vec<&str> = MARKS.iter().map(Kind::name).collect();
        format!(
            "{place}: the mark {mark:?}: expected {}",
            allowed.join(", ")
        )
    })
}

fn between<'l>(line: &'l str, before: &str, after: &str) -> Option<&'l str> {
    Some(line.strip_prefix(before)?.strip_suffix(after)?.trim())
}
