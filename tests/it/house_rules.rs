//! The rules that neither the compiler nor clippy knows: which module may import which, what the domain may use, how long a
//! file may grow, what is not written anywhere. Each rule is a function from sources to faults, so that tests over small
//! made-up sources show that it can fail.

use std::collections::BTreeSet;

use self::source::{Source, of_this_package, sources};

mod cycles;
mod fakes;
mod files;
mod order;
mod places;
mod prose;
mod settings;
mod source;

/// Which module may import which of ours: the arrows of `docs/ARCHITECTURE.md`. A module may always import itself; the
/// longest name that fits a module is its row. What is not in its row is not to be imported: an arrow the other way round
/// would make a circle, and one past a neighbour would make two places that know the same thing.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    // Declares the modules and imports nothing.
    ("lib", &[]),
    (
        "cli",
        &[
            "api_types",
            "app",
            "bigin",
            "random",
            "clock",
            "config",
            "crypto",
            "database",
            "domain",
            "metrics",
            "http_client",
            "sanity",
            "signature",
            "store",
            "telemetry",
        ],
    ),
    ("cli::serve", &["app", "clock", "config", "domain", "telemetry"]),
    (
        "cli::demo",
        &[
            "api_types",
            "app",
            "bigin",
            "random",
            "clock",
            "config",
            "domain",
            "fake",
            "metrics",
            "http_client",
            "sanity",
            "signature",
            "store",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "bigin",
            "random",
            "clock",
            "config",
            "database",
            "domain",
            "http",
            "metrics",
            "http_client",
            "sanity",
            "signature",
            "store",
            "workers",
        ],
    ),
    // Talks to the store alone: no request of anybody waits for a remote service.
    (
        "http",
        &[
            "api_types",
            "clock",
            "crypto",
            "domain",
            "metrics",
            "signature",
            "store",
        ],
    ),
    (
        "workers",
        &[
            "bigin", "random", "clock", "crypto", "domain", "metrics", "sanity", "store",
        ],
    ),
    // Tells people, and knows no remote service.
    ("workers::notifier", &["http_client"]),
    ("api_types", &["domain", "store"]),
    ("store", &["random", "clock", "database", "domain", "metrics"]),
    // Neither knows of the other, nor of where anything is kept.
    (
        "bigin",
        &["random", "clock", "config", "crypto", "domain", "http_client"],
    ),
    (
        "sanity",
        &["random", "clock", "config", "crypto", "domain", "http_client"],
    ),
    ("http_client", &["clock", "domain", "metrics"]),
    ("fake", &["clock"]),
    ("random", &[]),
    ("crypto", &["random"]),
    ("clock", &["domain"]),
    ("config", &["database", "domain"]),
    ("database", &[]),
    ("domain", &[]),
    ("metrics", &[]),
    ("signature", &["crypto"]),
    ("telemetry", &[]),
];

/// The crates the domain may use: none that reads, waits or sends.
const CRATES_OF_DOMAIN: &[&str] = &[
    "core",
    "jiff",
    "minijinja",
    "phonenumber",
    "serde",
    "serde_json",
    "std",
    "thiserror",
    "utoipa",
];

/// What of the standard library reads, waits or sends.
const OUTSIDE_WORLD: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread"];

// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn modules_import_along_the_arrows() {
    assert_kept(arrows(&of_this_package()));
}

#[test]
fn the_domain_is_pure() {
    assert_kept(purity(&of_this_package(), &dependencies()));
}

fn assert_kept(faults: Vec<String>) {
    assert!(
        faults.is_empty(),
        "{} of the house's rules broken:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

// --- The rules -------------------------------------------------------------------------------------------------------

/// Imports, and paths written out in the code, that go against [`ARROWS`]. Tests may import what they like.
fn arrows(sources: &[Source]) -> Vec<String> {
    let modules: BTreeSet<&str> = sources.iter().filter_map(Source::top).collect();
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.is_program()) {
        let own = source.module.first().map_or("lib", String::as_str);
        let Some((row, may)) = row_of(&source.module) else {
            faults.push(format!(
                "{}: the module {own} has no row in ARROWS of tests/it/house_rules.rs; add one that says what it may import",
                source.path
            ));
            continue;
        };
        for (line, target) in source.imports() {
            let Some(top) = target.first().map(String::as_str) else {
                continue;
            };
            if top != own && modules.contains(top) && !may.iter().any(|may| is_within(&target, may)) {
                faults.push(format!(
                    "{}:{line}: {row} imports {}, and may import only itself{}{}; move the code to where it may be known, \
                     or pass the value in",
                    source.path,
                    target.join("::"),
                    if may.is_empty() { "" } else { ", " },
                    may.join(", "),
                ));
            }
        }
    }
    faults
}

/// Everything in `src/domain` that could read, wait or send. `crates` are the names of all dependencies.
fn purity(sources: &[Source], crates: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.top() == Some("domain") && source.is_program())
    {
        for path in source.paths() {
            let first = path.segments.first().map_or("", String::as_str);
            let second = path.segments.get(1).map_or("", String::as_str);
            if crates.contains(first) && path.segments.len() > 1 && !CRATES_OF_DOMAIN.contains(&first) {
                faults.push(format!(
                    "{}:{}: the domain uses the crate {first}; it may use {} only",
                    source.path,
                    path.line,
                    CRATES_OF_DOMAIN.join(", ")
                ));
            }
            if first == "std" && OUTSIDE_WORLD.contains(&second) {
                faults.push(format!(
                    "{}:{}: the domain uses std::{second}; have the caller read or send, and pass the value in",
                    source.path, path.line
                ));
            }
        }
        let waits = source.idents().filter(|ident| *ident == "async" || *ident == "await");
        faults.extend(waits.map(|ident| {
            let line = ident.span().start().line;
            format!(
                "{}:{line}: the domain says {ident}; it waits for nothing: have the caller wait",
                source.path
            )
        }));
    }
    faults
}

/// The row of [`ARROWS`] with the longest name that fits.
fn row_of(module: &[String]) -> Option<(&'static str, &'static [&'static str])> {
    let rows = ARROWS.iter().filter(|(row, _)| is_within(module, row));
    rows.max_by_key(|(row, _)| row.len()).copied()
}

fn is_within(module: &[String], row: &str) -> bool {
    let row: Vec<&str> = row.split("::").collect();
    module.len() >= row.len() && row.iter().zip(module).all(|(row, module)| row == module)
}

/// The names of all dependencies, as code writes them.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    dependencies.keys().map(|name| name.replace('-', "_")).collect()
}

// --- Each rule can fail ----------------------------------------------------------------------------------------------

/// Runs a rule over made-up sources and expects one fault for each of `expected`, which begins with it.
fn check(rule: impl Fn(&[Source]) -> Vec<String>, texts: &[(&str, &str)], expected: &[&str]) {
    let faults = rule(&sources(texts.iter().copied()));
    let as_expected = faults.len() == expected.len()
        && faults
            .iter()
            .zip(expected)
            .all(|(fault, start)| fault.starts_with(start));
    assert!(as_expected, "expected {expected:#?}, found {faults:#?}");
}

/// Modules for made-up sources to import.
const OTHERS: [(&str, &str); 3] = [
    ("src/store/mod.rs", ""),
    ("src/bigin/mod.rs", ""),
    ("src/fake/mod.rs", ""),
];

fn beside_others<'a>(path: &'a str, text: &'a str) -> Vec<(&'a str, &'a str)> {
    OTHERS.into_iter().chain([(path, text)]).collect()
}

#[test]
fn finds_import_against_the_arrows() {
    let cases = [
        (
            "use crate::bigin::Bigin;",
            "src/http/api.rs:1: http imports bigin::Bigin, and may import only itself, api_types",
        ),
        (
            "fn f() {\n    let x: crate::bigin::Bigin;\n}",
            "src/http/api.rs:2: http imports bigin::Bigin",
        ),
        (
            "fn f() { x!(crate::bigin::f()) }",
            "src/http/api.rs:1: http imports bigin::f",
        ),
        (
            "use crate::{store, bigin::{self, f}};",
            "src/http/api.rs:1: http imports bigin::self",
        ),
        ("use super::super::bigin;", "src/http/api.rs:1: http imports bigin"),
        ("use crate::bigin::*;", "src/http/api.rs:1: http imports bigin"),
    ];
    for (text, expected) in cases {
        let faults = arrows(&sources(beside_others("src/http/api.rs", text)));
        assert!(
            faults.first().is_some_and(|fault| fault.starts_with(expected)),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn accepts_imports_along_the_arrows() {
    let cases = [
        (
            "src/http/api.rs",
            "use crate::store::Store; use super::State; use crate::http::x; fn f() { self.bigin.x() }",
        ),
        (
            "src/http/api.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::bigin::Bigin;\n}",
        ),
        ("src/http/api.rs", "#[cfg(test)]\nuse crate::fake::bigin;"),
        ("src/cli/demo.rs", "use crate::fake::FakeBigin;"),
        ("src/cli/demo/story.rs", "use crate::fake::FakeBigin;"),
        ("tests/it/world.rs", "use bigin_sync::fake;"),
    ];
    for (path, text) in cases {
        check(arrows, &beside_others(path, text), &[]);
    }
    let declared = [
        ("src/http/mod.rs", "#[cfg(test)]\nmod tests;"),
        ("src/http/tests.rs", "use crate::bigin;"),
    ];
    check(arrows, &[&OTHERS[..], &declared].concat(), &[]);
}

#[test]
fn finds_fakes_outside_the_demo_and_missing_row() {
    check(
        arrows,
        &beside_others("src/cli/setup.rs", "use crate::fake;"),
        &["src/cli/setup.rs:1: cli imports fake"],
    );
    check(
        arrows,
        &beside_others("src/cli/serve.rs", "use crate::store;"),
        &["src/cli/serve.rs:1: cli::serve imports store"],
    );
    check(
        arrows,
        &beside_others("src/main.rs", "use bigin_sync::store;"),
        &["src/main.rs:1: main imports store"],
    );
    check(
        arrows,
        &[("src/mailer.rs", "")],
        &["src/mailer.rs: the module mailer has no row"],
    );
}

#[test]
fn finds_domain_with_io() {
    let crates: BTreeSet<String> = ["tokio", "serde", "tracing"].map(str::to_owned).into();
    let rule = |sources: &[Source]| purity(sources, &crates);
    let path = "src/domain/lead.rs";
    check(
        rule,
        &[(path, "use tokio::time;")],
        &["src/domain/lead.rs:1: the domain uses the crate tokio"],
    );
    check(
        rule,
        &[(path, "fn f() { tracing::info!(\"x\") }")],
        &["src/domain/lead.rs:1: the domain uses the crate tracing"],
    );
    check(
        rule,
        &[(path, "use ::std::{fmt, fs::File};")],
        &["src/domain/lead.rs:1: the domain uses std::fs"],
    );
    check(
        rule,
        &[(path, "async fn f() {}")],
        &["src/domain/lead.rs:1: the domain says async"],
    );
    check(
        rule,
        &[(path, "fn f() { x.await }")],
        &["src/domain/lead.rs:1: the domain says await"],
    );
    check(
        rule,
        &[(path, "use serde::Serialize;\n#[cfg(test)]\nmod tests { use std::fs; }")],
        &[],
    );
    check(rule, &[("src/store/mod.rs", "use tokio::time; async fn f() {}")], &[]);
}
