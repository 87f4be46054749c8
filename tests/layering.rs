//! Imports point one way; only `cli` prints; no `unwrap` outside of tests; no file grows without end.
//!
//! The checks read the source as text, with comments cut off.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules on the way of a candidate. A module may import from those before it, and why it stands where it does.
const ORDER: [(&str, &str); 37] = [
    ("files", "writes whole files, whatever is in them"),
    ("difference", "compares any two documents"),
    ("yaml", "reads any YAML, knows nothing of its contents"),
    ("process", "runs any command, knows nothing of what it says"),
    ("plugin", "asks processes of others, whatever for"),
    ("nats", "carries any message to other machines"),
    ("sheet", "reads any CSV by the names of its columns"),
    ("journal", "lines on disk, whatever they hold"),
    ("statistics", "statistics of plain numbers"),
    ("genotype", "names an architecture, whatever the space; writes digests"),
    ("objective", "directions, bounds and vectors of plain numbers"),
    ("data", "samples, whatever network sees them"),
    ("graph", "the operators of one candidate"),
    ("kernels", "computes single operators of a graph"),
    ("network", "computes whole graphs"),
    ("foreign", "reads networks that others have made"),
    ("prune", "cuts networks with weights, whatever made them"),
    ("space", "lowers genotypes to graphs"),
    ("indicator", "scores the networks of a space"),
    ("quality", "makes one figure of many indicators, and holds it against the truth"),
    ("onnx", "writes graphs with their weights, reads any model"),
    ("runtime", "runs ONNX models"),
    ("train", "trains networks of a space, exports them"),
    ("quantize", "rounds models, runs them to see what it costs"),
    ("latency", "times what a runtime runs"),
    ("device", "where that happens"),
    ("agent", "does what others ask of a device"),
    ("lut", "predicts what a device would measure"),
    ("pareto", "compares vectors of objectives"),
    ("surrogate", "predicts vectors of architectures that were not evaluated"),
    ("sampler", "proposes genotypes, told how good the last ones are"),
    ("tabular", "runs samplers where the truth is known"),
    ("config", "the sections of the modules before it, in one file"),
    ("study", "the loop and its store"),
    ("conformance", "whether a plugin does what all of them ask of it"),
    ("report", "what a study found"),
    ("cli", "arguments and messages for all of them"),
];

/// Lines of a file at which it should be divided.
const MOST_LINES: usize = 450;

struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// Module at the top level of the crate; none for `lib.rs`.
    fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix(source()).unwrap();
        let first = inside.components().next()?.as_os_str().to_str()?;
        (first != "lib.rs").then(|| first.trim_end_matches(".rs").to_owned())
    }

    /// Number of `super::` that lead from the file's module to the crate.
    fn depth(&self) -> usize {
        let inside = self.path.strip_prefix(source()).unwrap();
        inside.components().count() - usize::from(inside.ends_with("mod.rs"))
    }

    /// Whether it is a file `tests.rs`, or in a folder `tests`.
    fn is_test(&self) -> bool {
        let inside = self.path.strip_prefix(source()).unwrap();
        self.path.ends_with("tests.rs") || inside.iter().any(|folder| folder == "tests")
    }

    /// The code without comments.
    fn code(&self) -> String {
        self.text.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect()
    }

    /// The code without comments and unit tests.
    fn product_code(&self) -> String {
        let code = self.code();
        let tests = if self.is_test() { Some(0) } else { code.find("#[cfg(test)]\nmod ") };
        code[..tests.unwrap_or(code.len())].to_owned()
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<File> {
    let (mut found, mut folders) = (vec![], vec![source()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(File { text: std::fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first names in a group like `{a::b, c::{d, e}, f}`, whose opening brace is cut off.
fn names_of_group(text: &str) -> Vec<&str> {
    let (mut names, mut depth, mut expected) = (vec![], 0, true);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if expected && depth == 0 && !c.is_whitespace() => {
                names.push(identifier(&text[at..]));
                expected = false;
            }
            _ => {}
        }
    }
    names
}

/// What `code` imports from the crate's top level; `depth` is the number of `super::` that lead there.
fn imports(code: &str, depth: usize) -> BTreeSet<&str> {
    let to_crate = ["crate::".to_owned(), "super::".repeat(depth)];
    let mut found = BTreeSet::new();
    for root in &to_crate {
        for (at, _) in code.match_indices(root.as_str()) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' || before == ':' {
                continue;
            }
            let rest = code[at + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => found.extend(names_of_group(group)),
                None => found.extend([identifier(rest)]),
            }
        }
    }
    found
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let code = "use crate::graph::{Graph, Op};\nuse crate::{yaml::{self, closest}, space,\n  genotype::hex};\n\
        let a = crate::onnx::INPUT; use super::super::study; use super::device; use $crate::x;\n use mycrate::nothing;";
    let expected = ["genotype", "graph", "onnx", "space", "study", "x", "yaml"];
    assert_eq!(imports(code, 2).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn imports_point_to_the_left() {
    let place = |module: &str| ORDER.iter().position(|(name, _)| *name == module);
    let (mut edges, mut wrong) = (BTreeSet::new(), vec![]);
    for file in files() {
        let Some(module) = file.module().filter(|module| module != "main") else { continue };
        let at = place(&module).unwrap_or_else(|| panic!("module `{module}` has no place in ORDER"));
        let code = file.code();
        for import in imports(&code, file.depth()) {
            let Some(of) = place(import) else { continue };
            edges.insert((at, of));
            if of > at {
                wrong.push(format!("{}: {module} imports from {import}, which is to its right", file.path.display()));
            }
        }
    }
    assert!(edges.len() > 50, "so few imports that some are overlooked: {edges:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// So that a module that is gone leaves ORDER, too.
#[test]
fn the_order_has_every_module() {
    let library = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared = library.lines().map(|line| line.strip_prefix("pub ").unwrap_or(line));
    let modules = declared.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    assert_eq!(modules.collect::<BTreeSet<_>>(), ORDER.iter().map(|(name, _)| *name).collect());
}

/// Files of the product outside of `modules` whose code has one of `words`, with the line.
fn lines_with(words: &[&str], except: &[&str]) -> Vec<String> {
    let mut found = vec![];
    for file in files() {
        if file.module().is_some_and(|module| except.contains(&module.as_str())) {
            continue;
        }
        for (number, line) in file.product_code().lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", file.path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_command_line_prints() {
    let found = lines_with(&["print!(", "println!(", "dbg!("], &["cli", "main"]);
    assert!(found.is_empty(), "print in `cli` alone, log through `tracing`:\n{}", found.join("\n"));
}

#[test]
fn nothing_is_unwrapped_outside_of_tests() {
    let found = lines_with(&[".unwrap()", "todo!(", "unimplemented!("], &[]);
    assert!(found.is_empty(), "return an error, or `expect` what holds:\n{}", found.join("\n"));
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = files()
        .iter()
        .filter(|file| file.text.lines().count() > MOST_LINES)
        .map(|file| format!("{}: {} lines", file.path.display(), file.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "divide what has more than {MOST_LINES} lines:\n{}", long.join("\n"));
}
