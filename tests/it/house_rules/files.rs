//! Each file says what it contains, and is short. Functions are measured by clippy (`too_many_lines`).

use super::source::{Source, of_this_package};
use super::{assert_kept, check};

const MOST_LINES_OF_FILE: usize = 400;

/// These hold one long list of SQL statements each, which is read as a list.
const LONG_FILES: &[&str] = &["src/store/"];

#[test]
fn files_have_headers() {
    assert_kept(headers(&of_this_package()));
}

#[test]
fn files_are_short() {
    assert_kept(lengths(&of_this_package()));
}

fn headers(sources: &[Source]) -> Vec<String> {
    let bare = sources.iter().filter(|source| !source.text.starts_with("//!"));
    bare.map(|source| {
        format!(
            "{}: say on the first line, after //!, what the file is for",
            source.path
        )
    })
    .collect()
}

/// Tests are not counted: a long table of cases is easier to read than two short ones.
fn lengths(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.is_program()) {
        let of_tests: usize = source.tests.iter().map(|lines| lines.clone().count()).sum();
        let lines = source.text.lines().count() - of_tests;
        let may_be_long = LONG_FILES.iter().any(|start| source.path.starts_with(start));
        if lines > MOST_LINES_OF_FILE && !may_be_long {
            faults.push(format!(
                "{}: {lines} lines, of {MOST_LINES_OF_FILE} at most; split it where it changes the subject",
                source.path
            ));
        }
    }
    faults
}

#[test]
fn finds_missing_header() {
    check(
        headers,
        &[("src/a.rs", "//! Says it."), ("tests/it/b.rs", "fn f() {}")],
        &["tests/it/b.rs: say on the first line"],
    );
}

#[test]
fn finds_long_file() {
    let long = "// A line.\n".repeat(401);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}");
    check(
        lengths,
        &[("src/a.rs", &long)],
        &["src/a.rs: 401 lines, of 400 at most"],
    );
    check(
        lengths,
        &[
            ("src/store/sqlite.rs", &long),
            ("tests/it/b.rs", &long),
            ("src/a.rs", &tests),
        ],
        &[],
    );
}
