//! Prose is never data: no module looks into a sentence that another one made.

use proc_macro2::{Delimiter, TokenTree};

use super::source::{Source, of_this_package};
use super::{assert_kept, check, is_within};

/// What looks into a text.
const LOOKS: &[&str] = &[
    "contains",
    "starts_with",
    "ends_with",
    "split_once",
    "rsplit_once",
    "find",
    "trim_end_matches",
];

/// These read what has no codes: a query, SQL, Bigin's message.
const PLACES: &[&str] = &["bigin::item", "cli::doctor::webhook_rule", "fake", "store::postgres"];

#[test]
fn no_module_reads_the_prose_of_another() {
    assert_kept(prose(&of_this_package()));
}

/// Words with a space between them, or with a colon or semicolon and a space, are prose.
fn is_prose(literal: &str) -> bool {
    let text = literal.trim_start_matches('r').trim_matches(['#', '"']);
    let between = text.trim().contains(' ');
    between || matches!(text, ": " | "; " | ", ")
}

fn prose(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        if PLACES.iter().any(|place| is_within(&source.module, place)) {
            continue;
        }
        source.walk(&mut |tokens, at, _| {
            let line = tokens[at].span().start().line;
            let (TokenTree::Ident(ident), Some(TokenTree::Group(group))) = (&tokens[at], tokens.get(at + 1)) else {
                return;
            };
            let is_call = group.delimiter() == Delimiter::Parenthesis && LOOKS.iter().any(|look| ident == look);
            let argument = group.stream().into_iter().next();
            let Some(TokenTree::Literal(literal)) = argument.filter(|_| is_call) else {
                return;
            };
            let text = literal.to_string();
            if source.is_program() && !source.is_test_line(line) && text.starts_with(['"', 'r']) && is_prose(&text) {
                faults.push(format!(
                    "{}:{line}: {ident}({text}) looks into a sentence; give the type a field or a code",
                    source.path
                ));
            }
        });
    }
    faults
}

#[test]
fn code_that_reads_prose_is_found() {
    let bad =
        "//! A.\nfn a(b: &str) -> bool { b.contains(\"not a phone number\") || b.split_once(\"; \").is_some() }\n";
    check(
        prose,
        &[("src/http/a.rs", bad)],
        &["src/http/a.rs:2: contains", "src/http/a.rs:2: split_once"],
    );
    let good = "//! A.\nfn a(b: &str) -> bool { b.contains(\"drafts.\") || b.starts_with(\"invalid_\") }\n";
    check(prose, &[("src/http/a.rs", good)], &[]);
}
