//! `docs/TESTING.md` says which test shows what: each test and file that it names must be there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What stands between backquotes on a page.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2).collect::<Vec<_>>())
}

/// The names of all tests, as `cargo test` has them.
fn tests(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_of(folder, &path));
            }
        }
    }
    names
}

fn tests_of(folder: &Path, path: &Path) -> Vec<String> {
    let module: PathBuf = path.strip_prefix(folder).unwrap().with_extension("");
    let module: Vec<_> = module.iter().map(|part| part.to_str().unwrap()).collect();
    let text = std::fs::read_to_string(path).unwrap();
    let functions = text.lines().filter_map(|line| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")?.split(['(', '<']).next()
    });
    functions.map(|name| format!("{}::{name}", module.join("::"))).collect()
}

/// What is named and is not there.
fn missing(page: &str) -> Vec<&str> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = tests(&root.join("tests/it"));
    let is_test = |name: &&str| name.contains("::") && !name.contains(' ');
    let is_path = |name: &&str| {
        ["tests/", "deploy/", ".ci/"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let lost_tests = quoted(page)
        .filter(is_test)
        .filter(|name| !tests.contains(*name) && *name != "file::name");
    let lost_paths = quoted(page).filter(is_path).filter(|path| !root.join(path).exists());
    lost_tests.chain(lost_paths).collect()
}

#[test]
fn every_test_that_the_guide_names_is_there() {
    let page = include_str!("../../docs/TESTING.md");
    assert_eq!(missing(page), [] as [&str; 0]);
    assert!(
        quoted(page).filter(|name| name.contains("::")).count() > 25,
        "the page is read"
    );
}

#[test]
fn a_test_or_a_file_that_is_not_there_is_found() {
    let page =
        "| `journey::nothing_happens` | `tests/it/nowhere.rs` |\n`journey::a_second_request_on_purpose_is_carried_out`";
    assert_eq!(missing(page), ["journey::nothing_happens", "tests/it/nowhere.rs"]);
}
