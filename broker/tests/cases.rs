//! Cases in text files: what is read, and what is said of it.

/// A text, a second one, and the lines that are printed.
pub(crate) type Case = (String, String, Vec<&'static str>);

/// The cases of a file. An empty line ends one, `---` begins its second text, and a line behind `> ` is printed. Lines
/// behind `##` are for readers.
///
/// # Panics
/// When a case has no line that is printed.
pub(crate) fn cases(file: &'static str) -> impl Iterator<Item = Case> {
    let blocks = file.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with("##"));
        lines.collect::<Vec<_>>()
    });
    blocks.filter(|lines| !lines.is_empty()).map(|lines| {
        let lines = lines.into_iter();
        let (said, read): (Vec<_>, Vec<_>) = lines.partition(|line: &&str| line.starts_with("> "));
        assert!(!said.is_empty(), "nothing is printed: {read:?}");
        let read = read.join("\n");
        let (first, second) = read.split_once("---\n").unwrap_or((&read, ""));
        let said = said.iter().map(|line| &line[2..]).collect();
        (first.to_owned(), second.to_owned(), said)
    })
}
