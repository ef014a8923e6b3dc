//! The same seed gives the same run only where nothing but the seed decides: no order of a hash map, no clock and no thread of
//! its own, no draw between branches that are ready.

use proc_macro2::TokenTree;

use super::source::{Source, is_ident, is_punct, of_this_package};
use super::{assert_kept, check, is_within};

/// What brings an order of its own into a run, and the modules that may have it all the same.
const PLACES: &[(&str, &[&str])] = &[
    ("Instant", &["clock", "http::connections", "http::events"]),
    ("SystemTime", &[]),
    // Looked up by key, and never gone through.
    ("HashMap", &["store::session", "fake::bigin::model"]),
    ("HashSet", &[]),
    ("spawn_blocking", &["store"]),
    (
        "thread",
        &["app", "fake", "store::postgres", "store::writer", "telemetry::otlp"],
    ),
];

/// The commands are not simulated, and these two are tools of tests.
const NOT_SIMULATED: &[&str] = &["cli", "testing"];

#[test]
fn only_the_seed_decides() {
    assert_kept(order(&of_this_package()));
}

fn order(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        if NOT_SIMULATED.iter().any(|module| is_within(&source.module, module)) {
            continue;
        }
        source.walk(&mut |tokens, at| {
            let line = tokens[at].span().start().line;
            let TokenTree::Ident(ident) = &tokens[at] else { return };
            if !source.is_program() || source.is_test_line(line) {
                return;
            }
            let word = ident.to_string();
            let is_path = is_punct(tokens.get(at + 1), ':') && is_punct(tokens.get(at + 2), ':');
            if word == "select" && is_punct(tokens.get(at + 1), '!') && !is_biased(tokens.get(at + 2)) {
                let what = "select! draws between branches that are ready; begin it with `biased;`";
                faults.push(format!("{}:{line}: {what}", source.path));
            }
            let Some((_, places)) = PLACES.iter().find(|(name, _)| *name == word) else {
                return;
            };
            let is_place = places.iter().any(|place| is_within(&source.module, place));
            if !is_place && (word != "thread" || is_path) {
                let what = format!("{word} outside of its modules: the same seed would not give the same run");
                faults.push(format!("{}:{line}: {what}", source.path));
            }
        });
    }
    faults
}

fn is_biased(group: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = group else {
        return false;
    };
    is_ident(group.stream().into_iter().next().as_ref(), "biased")
}

#[test]
fn finds_own_order() {
    let select = "//! x\nasync fn x() {\n    tokio::select! {\n        () = a() => {}\n    }\n}\n";
    let biased = select.replace("{\n        ()", "{\n        biased;\n        ()");
    check(order, &[("src/http/send.rs", select)], &["src/http/send.rs:3: select!"]);
    check(order, &[("src/http/send.rs", &biased)], &[]);
    check(order, &[("src/cli/send.rs", select)], &[]);
    let other =
        "//! x\nuse std::collections::HashMap;\nuse std::time::Instant;\nfn x() {\n    std::thread::spawn(y);\n}\n";
    let found = [
        "src/workers/tag.rs:2: HashMap",
        "src/workers/tag.rs:3: Instant",
        "src/workers/tag.rs:5: thread",
    ];
    check(order, &[("src/workers/tag.rs", other)], &found);
    check(order, &[("src/clock.rs", "//! x\nuse std::time::Instant;\n")], &[]);
}
