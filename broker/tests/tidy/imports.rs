//! Which file of a crate imports which: read off its sources, as far as names lead.
//!
//! A file imports the file in which a name is defined: by `use`, or by a path in its code, from `crate`, `super`,
//! `self` or a module of its own. A name that a page imports or re-exports leads on to where it is defined. What it
//! declares (`mod x;`) or re-exports of its own folder it does not import. Left out are tests (`#[cfg(test)]`),
//! comments, the paths of visibility, and what a macro makes.

use super::tokens::{end_of, is_name, without_tests, words};
use std::collections::{BTreeMap, BTreeSet};

/// The files of a crate, by their modules: the root is `crate`, the module of `src/shard/relay.rs` is `shard::relay`.
pub(crate) struct Crate {
    modules: Vec<Module>,
}

/// One file.
#[derive(Default)]
struct Module {
    path: Vec<String>,
    children: BTreeMap<String, usize>,
    /// The names of its `use` lines, and the visibility of each.
    uses: Vec<Use>,
    /// The paths that its code names.
    paths: Vec<Vec<String>>,
}

struct Use {
    path: Vec<String>,
    /// The name that it gives it.
    name: String,
    is_public: bool,
}

impl Crate {
    /// Reads a crate from its root, such as `src/lib.rs`. `read` returns the text of a file, or none.
    pub(crate) fn read(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut modules = Vec::new();
        let mut open = vec![(root.to_owned(), Vec::new(), None)];
        while let Some((file, path, parent)) = open.pop() {
            let text = read(&file).unwrap_or_else(|| panic!("{file} cannot be read"));
            let (module, declared) = parse(&without_tests(words(&text)), path);
            let number = modules.len();
            if let (Some(parent), Some(name)) = (parent, module.path.last()) {
                let parent: &mut Module = &mut modules[parent];
                parent.children.insert(name.clone(), number);
            }
            let folder = folder_of(&file);
            for name in declared {
                let places = [
                    format!("{folder}/{name}.rs"),
                    format!("{folder}/{name}/mod.rs"),
                ];
                if let Some(file) = places.into_iter().find(|place| read(place).is_some()) {
                    let path = [module.path.as_slice(), &[name]].concat();
                    open.push((file, path, Some(number)));
                }
            }
            modules.push(module);
        }
        Self { modules }
    }

    /// The files that import each other in a circle, by their modules: every circle, the largest first.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let imports = (0..self.modules.len()).map(|of| self.imports(of));
        let imports: Vec<BTreeSet<usize>> = imports.collect();
        let names = circles(&imports).into_iter().map(|circle| {
            let name = |module: usize| self.name(module);
            circle.into_iter().map(name).collect()
        });
        let mut named: Vec<Vec<String>> = names.collect();
        named.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        named
    }

    /// The modules of the root, with all that is in them, that import each other in a circle.
    pub(crate) fn circles_of_parts(&self) -> Vec<Vec<String>> {
        let parts: BTreeSet<&String> = self
            .modules
            .iter()
            .filter_map(|it| it.path.first())
            .collect();
        let parts: Vec<&String> = parts.into_iter().collect();
        let part = |module: usize| {
            let first = self.modules[module].path.first()?;
            parts.iter().position(|part| *part == first)
        };
        let mut imports = vec![BTreeSet::new(); parts.len()];
        for module in 0..self.modules.len() {
            let others = self.imports(module).into_iter().filter_map(part);
            if let Some(own) = part(module) {
                imports[own].extend(others.filter(|other| *other != own));
            }
        }
        let named = circles(&imports).into_iter();
        let named =
            named.map(|circle| circle.into_iter().map(|part| parts[part].clone()).collect());
        named.collect()
    }

    fn name(&self, module: usize) -> String {
        let path = &self.modules[module].path;
        if path.is_empty() {
            "crate".to_owned()
        } else {
            path.join("::")
        }
    }

    /// The files that one imports.
    fn imports(&self, of: usize) -> BTreeSet<usize> {
        let module = &self.modules[of];
        let mut found = BTreeSet::new();
        for line in &module.uses {
            let Some(other) = self.resolve(of, &line.path, 0) else {
                continue;
            };
            let below = self.modules[other].path.starts_with(&module.path);
            if !(line.is_public && below) {
                found.insert(other);
            }
        }
        for path in &module.paths {
            let imported = module.uses.iter().find(|it| it.name == path[0]);
            let whole = imported.map(|it| [&it.path[..], &path[1..]].concat());
            found.extend(self.resolve(of, whole.as_deref().unwrap_or(path), 0));
        }
        found.remove(&of);
        found
    }

    /// The file in which the end of a path is defined, if it is one of this crate.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let mut at = from;
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (at, rest) = (0, &path[1..]),
            "self" | "super" => {
                while let Some(step @ ("self" | "super")) = rest.first().map(String::as_str) {
                    if step == "super" {
                        at = self.parent(at)?;
                    }
                    rest = &rest[1..];
                }
            }
            name => {
                self.modules[at].children.get(name)?;
            }
        }
        while let Some((name, behind)) = rest.split_first() {
            let module = &self.modules[at];
            if let Some(child) = module.children.get(name) {
                (at, rest) = (*child, behind);
                continue;
            }
            // What a page imports for itself, its children may name by it, too.
            let whole = module.uses.iter().find(|it| it.name == *name);
            let whole = whole.map(|it| [&it.path[..], behind].concat());
            let led_on = whole.filter(|_| depth < RE_EXPORTS_MAX);
            let led_on = led_on.and_then(|whole| self.resolve(at, &whole, depth + 1));
            return Some(led_on.unwrap_or(at));
        }
        Some(at)
    }

    fn parent(&self, of: usize) -> Option<usize> {
        let (_, path) = self.modules[of].path.split_last()?;
        self.modules.iter().position(|it| it.path == path)
    }
}

/// Groups of more than one that reach each other.
fn circles(imports: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..imports.len())
        .map(|from| {
            let mut seen = BTreeSet::new();
            let mut open = vec![from];
            while let Some(at) = open.pop() {
                open.extend(imports[at].iter().filter(|next| seen.insert(**next)));
            }
            seen
        })
        .collect();
    let circle = |of: usize| {
        let both = reached[of]
            .iter()
            .filter(|other| reached[**other].contains(&of));
        both.copied().collect::<BTreeSet<usize>>()
    };
    let all: BTreeSet<BTreeSet<usize>> = (0..imports.len()).map(circle).collect();
    all.into_iter().filter(|circle| circle.len() > 1).collect()
}

/// The folder of the modules that a file declares.
fn folder_of(file: &str) -> &str {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    match name {
        "lib.rs" | "mod.rs" => folder,
        _ => file.trim_end_matches(".rs"),
    }
}

/// The names that follow one, such as `crate` or `broker_core`, in the paths of a file and its tests.
pub(crate) fn names_behind(first: &str, text: &str) -> BTreeSet<String> {
    let (module, _) = parse(&words(text), Vec::new());
    let uses = module.uses.into_iter().map(|line| line.path);
    let paths = uses.chain(module.paths);
    paths
        .filter(|path| path[0] == first)
        .filter_map(|path| path.get(1).cloned())
        .collect()
}

/// A file, and the modules that it declares.
fn parse(words: &[String], path: Vec<String>) -> (Module, Vec<String>) {
    let mut module = Module {
        path,
        ..Module::default()
    };
    let mut declared = Vec::new();
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    let (mut place, mut is_public) = (0, false);
    while place < words.len() {
        match (word(place), word(place + 1)) {
            ("pub", "(") => {
                place = end_of(words, place + 1);
                is_public = true;
                continue;
            }
            ("pub", _) => is_public = true,
            ("mod", name) if word(place + 2) == ";" => declared.push(name.to_owned()),
            ("use", _) => {
                let end = words[place..].iter().position(|it| it == ";");
                let end = place + end.expect("a line with use ends");
                expand(&words[place + 1..end], &[], is_public, &mut module.uses);
                (place, is_public) = (end, false);
            }
            (name, "::") if is_name(name) => {
                let mut whole = vec![name.to_owned()];
                while word(place + 1) == "::" && is_name(word(place + 2)) {
                    whole.push(word(place + 2).to_owned());
                    place += 2;
                }
                module.paths.push(whole);
                is_public = false;
            }
            _ => is_public = false,
        }
        place += 1;
    }
    (module, declared)
}

/// The names of a `use` line, one by one: `a::{b, c as d}` is `a::b` and `a::c`.
fn expand(tree: &[String], before: &[String], is_public: bool, to: &mut Vec<Use>) {
    let mut depth = 0;
    let parts = tree.split(|word| {
        depth += i32::from(word == "{") - i32::from(word == "}");
        depth == 0 && word == ","
    });
    for part in parts.filter(|part| !part.is_empty()) {
        if let Some(open) = part.iter().position(|word| word == "{") {
            let names = part[..open].iter().filter(|word| *word != "::");
            let before: Vec<String> = before.iter().chain(names).cloned().collect();
            expand(&part[open + 1..part.len() - 1], &before, is_public, to);
            continue;
        }
        let named = part.iter().position(|word| word == "as");
        let names = part[..named.unwrap_or(part.len())].iter();
        let names = names.filter(|word| *word != "::");
        let mut path: Vec<String> = before.iter().chain(names).cloned().collect();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = named.and_then(|named| part.get(named + 1));
        let name = name.or_else(|| path.last()).cloned().unwrap_or_default();
        to.push(Use {
            path,
            name,
            is_public,
        });
    }
}

/// Re-exports that lead to one another.
const RE_EXPORTS_MAX: usize = 8;

#[test]
fn imports_lead_to_where_a_name_is_defined() {
    let text = |file: &str| {
        let text = match file {
            "src/lib.rs" => "mod one; mod two; pub mod three; pub use two::Thing;",
            "src/one.rs" => {
                "// use crate::three;\n use crate::{Thing, two::Other as Some}; const NOT: &str = \"crate::three\";"
            }
            "src/two/mod.rs" => {
                "mod inner; pub(crate) use inner::Thing; use inner::lead; pub struct Other; \
                 #[cfg(test)] mod tests { use crate::one; fn test() { crate::three::run() } }"
            }
            "src/two/inner.rs" => {
                "fn lead(c: char) -> bool { c == '\"' || super::super::three::run('\\'') }"
            }
            "src/three.rs" => "use crate::one as first; fn run<'a>() { first::run::<&'a u8>() }",
            _ => return None,
        };
        Some(text.to_owned())
    };
    let read = Crate::read("src/lib.rs", &text);
    let imports = |name: &str| -> Vec<String> {
        let of = (0..read.modules.len()).find(|module| read.name(*module) == name);
        let found = read.imports(of.expect("a module"));
        found.into_iter().map(|module| read.name(module)).collect()
    };
    assert_eq!(imports("crate"), [""; 0]);
    assert_eq!(imports("one"), ["two", "two::inner"]);
    assert_eq!(imports("two"), ["two::inner"]);
    assert_eq!(imports("two::inner"), ["three"]);
    assert_eq!(imports("three"), ["one"]);
    assert_eq!(read.circles(), [["three", "two", "two::inner", "one"]]);
    assert_eq!(read.circles_of_parts(), [["one", "three", "two"]]);
}
