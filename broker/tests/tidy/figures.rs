//! The figures of the tree's shape, for `deploy/ci/figures.sh`. No rules: those are in the modules beside this one.

use crate::circles::{largest_circle, largest_folder, loops_of_parts};
use crate::comments::riddles;
use crate::pages::{Page, pages};
use crate::tokens::{end_of, is_name, without_tests, words};

/// The parts of a shard's state.
const PARTS: [&str; 4] = ["Sockets", "Directory", "Books", "Gate"];
const SHARD: &str = "broker/core/src/shard/";
/// The test double: `shard/dev.rs` and its folder.
const DOUBLE: &str = "broker/core/src/shard/dev";

#[test]
#[ignore = "prints figures: deploy/ci/figures.sh"]
#[expect(clippy::print_stdout, reason = "a script reads the figures")]
fn figures() {
    let pages = pages();
    let sources: Vec<(&Page, Vec<String>)> = pages
        .iter()
        .filter(|page| page.ends_with("rs") && !is_test(&page.path))
        .map(|page| (page, without_tests(words(&page.text))))
        .collect();
    let of = |folder: &str| {
        let inside = sources
            .iter()
            .filter(|(page, _)| page.path.starts_with(folder));
        let words = inside.map(|(_, words)| words.as_slice());
        words.collect::<Vec<&[String]>>()
    };
    let shard = of(SHARD);
    let with_parts = shard.iter().flat_map(|words| signatures(words));
    let with_parts = with_parts
        .filter(|arguments| parts_in(arguments) >= 3)
        .count();
    let visible: usize = PARTS.iter().map(|part| fields(&shard, part).1).sum();
    let all: usize = PARTS.iter().map(|part| fields(&shard, part).0).sum();
    let edge = of("broker/src/edge/");
    let driver = of("broker/etcd/src/");
    let lines_of = |path: &str| {
        let page = pages.iter().find(|page| page.path == path);
        page.map_or(0, |page| page.text.lines().count())
    };
    let print = |name: &str, value: String| println!("figure|{name}|{value}");
    print(
        "largest circle of files, core/src/shard",
        largest_circle("broker/core", "shard"),
    );
    print(
        "largest circle of files, src/side",
        largest_circle("broker", "side"),
    );
    print("loops of the parts of broker/src", loops_of_parts());
    print("functions with three or four parts", with_parts.to_string());
    print(
        "fields of the parts visible outside",
        format!("{visible} of {all}"),
    );
    print("call sites of the test double", double_sites(&sources));
    print("other mentions of the double", double_mentions(&sources));
    for (name, words) in [("Edge", &edge), ("Node", &driver)] {
        let value = format!("{} / {}", fields(words, name).0, methods(words, name));
        print(&format!("{name}: fields / methods"), value);
    }
    print("largest folder of sources", largest_folder());
    print(
        "comments that begin with What, Who, How, Where",
        riddles(&pages).count().to_string(),
    );
    print(
        "ARCHITECTURE.md / CHANGELOG.md, lines",
        format!(
            "{} / {}",
            lines_of("broker/ARCHITECTURE.md"),
            lines_of("CHANGELOG.md")
        ),
    );
    let code: usize = sources
        .iter()
        .map(|(page, _)| lines_of_code(&page.text))
        .sum();
    print(
        "lines of code without comments, blanks, tests",
        code.to_string(),
    );
}

/// Whether a file is only there under test, or made by a generator.
fn is_test(path: &str) -> bool {
    let is_there = |part: &str| path.contains(part);
    ["/tests/", "/tests.rs", "/transitions/", "generated.rs"]
        .into_iter()
        .any(is_there)
}

/// The arguments of every function.
fn signatures(words: &[String]) -> Vec<&[String]> {
    let mut found = Vec::new();
    for place in places(words, "fn") {
        let open = (place..words.len()).find(|at| words[*at] == "(");
        if let Some(open) = open {
            found.push(&words[open..end_of(words, open)]);
        }
    }
    found
}

fn places<'w>(words: &'w [String], name: &'w str) -> impl Iterator<Item = usize> + 'w {
    (0..words.len()).filter(move |place| words[*place] == name)
}

/// The parts that are borrowed by these arguments. In a method, `self` is not counted.
fn parts_in(arguments: &[String]) -> usize {
    let has = |part: &&&str| arguments.iter().any(|word| word == **part);
    PARTS.iter().filter(has).count()
}

/// The fields of a struct, and those that are visible outside the file that has it and the folder of its name.
fn fields(files: &[&[String]], name: &str) -> (usize, usize) {
    for words in files {
        for place in places(words, "struct")
            .filter(|place| words.get(place + 1).is_some_and(|it| it == name))
        {
            let open = (place..words.len()).find(|at| words[*at] == "{");
            let Some(open) = open else { continue };
            let body = &words[open + 1..end_of(words, open) - 1];
            let mut depth = 0;
            let mut found = (0, 0);
            let mut visible = false;
            for (at, word) in body.iter().enumerate() {
                match word.as_str() {
                    "(" | "[" | "{" | "<" => depth += 1,
                    ")" | "]" | "}" => depth -= 1,
                    ">" if at == 0 || body[at - 1] != "-" => depth -= 1,
                    "pub" if depth == 0 => visible = true,
                    "," if depth == 0 => visible = false,
                    ":" if depth == 0 => {
                        found.0 += 1;
                        found.1 += usize::from(visible);
                    }
                    _ => {}
                }
            }
            return found;
        }
    }
    (0, 0)
}

/// The functions in all `impl` blocks of a type.
fn methods(files: &[&[String]], name: &str) -> usize {
    let mut found = 0;
    for words in files {
        for place in places(words, "impl") {
            let Some(open) = (place..words.len()).find(|at| words[*at] == "{") else {
                continue;
            };
            let of = words[place + 1..open].iter().rev();
            let mut names = of.filter(|word| is_name(word));
            let is_of =
                words[place + 1..open].iter().any(|word| word == name) && names.next().is_some();
            if is_of {
                found += places(&words[open..end_of(words, open)], "fn").count();
            }
        }
    }
    found
}

/// Calls of the double's steps (`double.admission(…)`), and the files that have them.
fn double_sites(sources: &[(&Page, Vec<String>)]) -> String {
    in_files(sources, |words| {
        let calls = words.windows(4).filter(|four| {
            four[0] == "double" && four[1] == "." && is_name(&four[2]) && four[3] == "("
        });
        calls.count()
    })
}

/// All other places in the shard that name the double: its modules and types, its state, calls of its functions and of
/// the methods that it adds to the shard's types.
fn double_mentions(sources: &[(&Page, Vec<String>)]) -> String {
    const NAMES: [&str; 6] = [
        "dev",
        "StartDev",
        "Scripted",
        "Double",
        "Production",
        "double",
    ];
    const MODULES: [&str; 8] = [
        "faults",
        "parity",
        "capture",
        "copies",
        "checks",
        "reset",
        "account_use",
        "held",
    ];
    let double = sources
        .iter()
        .filter(|(page, _)| page.path.starts_with(DOUBLE));
    let own: Vec<String> = double.flat_map(|(_, words)| added(words)).collect();
    in_files(sources, |words| {
        let names = words.iter().enumerate().filter(|(at, word)| {
            let before = words[..*at].iter().rev().take(2);
            let is_setting = before.eq([".", "settings"]);
            let next = words.get(at + 1).map(String::as_str);
            let is_step = *word == "double" && next == Some(".");
            NAMES.contains(&word.as_str()) && !is_setting && !is_step
        });
        let methods = words.windows(3).filter(|three| {
            three[0] == "." && own.contains(&three[1]) && matches!(three[2].as_str(), "(" | "::")
        });
        let functions = words.windows(4).filter(|four| {
            MODULES.contains(&four[0].as_str())
                && four[1] == "::"
                && is_name(&four[2])
                && four[3] == "("
        });
        names.count() + methods.count() + functions.count()
    })
}

/// The names of methods in `impl` blocks of the shard's own types.
fn added(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for place in places(words, "impl") {
        let name = words.get(place + 1).map(String::as_str);
        let Some("Shard" | "Sockets" | "Directory" | "Books" | "Gate" | "Passing") = name else {
            continue;
        };
        let open = (place..words.len()).find(|at| words[*at] == "{");
        let Some(open) = open else { continue };
        let body = &words[open..end_of(words, open)];
        found.extend(places(body, "fn").map(|at| body[at + 1].clone()));
    }
    found
}

/// The sum of a count over the files of the shard that are no part of the double, and the files that have any.
fn in_files(sources: &[(&Page, Vec<String>)], count: impl Fn(&[String]) -> usize) -> String {
    let (mut sites, mut files) = (0, 0);
    for (page, words) in sources {
        if !page.path.starts_with(SHARD) || page.path.starts_with(DOUBLE) {
            continue;
        }
        let found = count(words);
        sites += found;
        files += usize::from(found > 0);
    }
    format!("{sites} in {files} files")
}

/// Lines with code: no blanks, no lines that are only a comment, nothing behind the first `#[cfg(test)]` of a module.
fn lines_of_code(text: &str) -> usize {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().map(str::trim_start);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.count()
}

#[test]
fn figures_are_counted() {
    let text = "struct Sockets { pub(in crate::shard) one: Vec<(u8, u8)>, two: fn(u8) -> u8, }
        impl Sockets { fn a(&self) {} pub fn b(sockets: &mut Sockets, books: &Books, gate: &Gate) {} }
        impl Debug for Sockets { fn fmt(&self) {} }";
    let words = words(text);
    let files = [words.as_slice()];
    assert_eq!(fields(&files, "Sockets"), (2, 1));
    assert_eq!(methods(&files, "Sockets"), 3);
    let most = signatures(&words).into_iter().map(parts_in).max();
    assert_eq!(most, Some(3));
    assert_eq!(
        lines_of_code("//! A.\n\nfn a() {\n    // b\n}\n#[cfg(test)]\nmod tests {\n"),
        2
    );
    let page = |path: &str| Page {
        path: format!("broker/core/src/shard/{path}"),
        text: String::new(),
    };
    let (dev, road, due) = (page("dev/due.rs"), page("road.rs"), page("due.rs"));
    let sources = [
        (
            &dev,
            crate::tokens::words("impl Shard { fn due(&mut self) {} }"),
        ),
        (
            &road,
            crate::tokens::words("double.message(self); x.due(); settings.dev; use super::dev;"),
        ),
        (
            &due,
            crate::tokens::words(
                "self.double.call(); due(); sockets.dev.parity; checks::on_call(it)",
            ),
        ),
    ];
    assert_eq!(double_sites(&sources), "2 in 2 files");
    assert_eq!(double_mentions(&sources), "4 in 2 files");
}
