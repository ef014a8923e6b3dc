//! The list of guards in `tests/breaks/list.toml` fits the code: `tests/breaks/run` takes half an hour, and this shows in a
//! moment that it would find what it looks for.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct List {
    #[serde(rename = "break")]
    breaks: Vec<Break>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Break {
    guard: String,
    file: String,
    old: String,
    new: String,
    test: String,
    /// The other places that the guard is in.
    #[serde(default)]
    also: Vec<Place>,
    /// The test does not end without the guard. Read by the script alone.
    #[serde(default, rename = "hangs")]
    _hangs: bool,
    /// The simulator finds within so many seeds that the guard is missing. Read by the script alone.
    #[serde(rename = "seeds")]
    _seeds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    file: String,
    old: String,
    new: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn breaks() -> Vec<Break> {
    let text = read_to_string(root().join("tests/breaks/list.toml")).unwrap();
    toml::from_str::<List>(&text).unwrap().breaks
}

#[test]
fn guards_text_is_there_once() {
    for Break {
        guard,
        file,
        old,
        new,
        also,
        ..
    } in breaks()
    {
        for Place { file, old, new } in [Place { file, old, new }].into_iter().chain(also) {
            let source = read_to_string(root().join(&file)).unwrap();
            let there = source.matches(&old).count();
            assert_eq!(there, 1, "{guard}: in {file}: {old:?}");
            assert_ne!(old, new, "{guard}: nothing is taken away");
        }
    }
}

#[test]
fn guards_test_exists() {
    for entry in breaks() {
        assert!(
            is_there(&entry.test),
            "{}: there is no test {:?}",
            entry.guard,
            entry.test
        );
    }
}

#[test]
fn guards_are_unique_and_complete() {
    let mut sentences = BTreeSet::new();
    let mut subjects = BTreeSet::new();
    for Break { guard, .. } in breaks() {
        let (subject, sentence) = guard.split_once(": ").expect("a guard names its subject");
        subjects.insert(subject.to_owned());
        assert!(sentences.insert(sentence.to_owned()), "twice: {sentence}");
    }
    for guarantee in 1..=7 {
        let subject = format!("guarantee {guarantee}");
        assert!(subjects.contains(&subject), "{subject} has no guard");
    }
}

#[test]
fn finds_missing_test() {
    for good in [
        "lib clock::tests::a_floor_moves_the_clock_forward_and_never_back",
        "lib domain::state::tests::a_tag_is_moved_later_and_never_earlier",
        "lib bigin::tests::tokens::a_hundred_calls_at_once_share_one_grant",
        "it break_list::finds_missing_test",
    ] {
        assert!(is_there(good), "{good}");
    }
    for bad in [
        "lib clock::tests::no_such_test",
        "lib clock::a_floor_moves_the_clock_forward_and_never_back",
        "it break_list::root",
        "it nowhere::x",
        "bench clock::x",
        "x",
    ] {
        assert!(!is_there(bad), "{bad}");
    }
}

/// Whether there is a test of this name: `lib MODULE::…::FUNCTION` or `it MODULE::FUNCTION`.
fn is_there(test: &str) -> bool {
    let Some((kind, path)) = test.split_once(' ') else {
        return false;
    };
    let Some((module, function)) = path.rsplit_once("::") else {
        return false;
    };
    let module = module.replace("::", "/");
    let sources = match kind {
        "lib" => sources_of(&module),
        "it" => read_to_string(root().join(format!("tests/it/{module}.rs")))
            .or_else(|_| read_to_string(root().join(format!("tests/it/{module}/mod.rs"))))
            .into_iter()
            .collect(),
        _ => return false,
    };
    sources.iter().any(|source| has_test(source, function))
}

/// What may be the source of a module: a file of its own without its `mod tests`, or, of tests, that part of the file of
/// what they test.
fn sources_of(module: &str) -> Vec<String> {
    const TESTS: &str = "\nmod tests {";
    let files = |module: &str| {
        [format!("src/{module}.rs"), format!("src/{module}/mod.rs")]
            .into_iter()
            .filter_map(|file| read_to_string(root().join(file)).ok())
    };
    let own = files(module).map(|source| source.split(TESTS).next().unwrap_or_default().to_owned());
    let tested = module.strip_suffix("/tests").into_iter().flat_map(files);
    let inline = tested.filter_map(|source| Some(source.split_once(TESTS)?.1.to_owned()));
    own.chain(inline).collect()
}

fn has_test(source: &str, function: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_of_name = |line: &str| {
        let signature = line.strip_prefix("async ").unwrap_or(line);
        signature
            .strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(function))
            .is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().any(|(place, line)| {
        let attributes = lines[..place].iter().rev().take_while(|line| line.starts_with("#["));
        is_of_name(line) && attributes.into_iter().any(|attribute| attribute.contains("test"))
    })
}
