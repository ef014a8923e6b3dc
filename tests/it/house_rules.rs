//! The rules of the house that no compiler knows: which module may import which, how long a file may grow, what is not
//! written anywhere. Each rule is a function from sources to faults, so that tests over small made-up sources show that it
//! can fail.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use self::source::{
    Source, functions, is_attribute, is_group, is_ident, is_punct, of_this_package, sources, texts, walk,
};

mod cycles;
mod fakes;
mod order;
mod prose;
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

const MOST_LINES_OF_FILE: usize = 400;
const MOST_LINES_OF_FUNCTION: usize = 80;

/// These hold one long list of SQL statements each, which is read as a list.
const LONG_FILES: &[&str] = &["src/store/"];

/// Settings that have a name of their own and no default.
const HOSTS_SETTINGS: &[&str] = &["PORT"];

// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn modules_import_only_along_the_arrows() {
    assert_kept(arrows(&of_this_package()));
}

#[test]
fn the_domain_is_pure() {
    assert_kept(purity(&of_this_package(), &dependencies()));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_kept(headers(&of_this_package()));
}

#[test]
fn files_and_functions_stay_short() {
    assert_kept(lengths(&of_this_package()));
}

#[test]
fn nothing_panics_prints_or_is_left_undone_outside_its_place() {
    assert_kept(words(&of_this_package()));
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    assert_kept(places(&texts()));
}

#[test]
fn settings_are_the_same_everywhere() {
    let texts = texts();
    assert_kept(settings(
        &texts["src/config.rs"],
        &texts["config/default.toml"],
        texts.get("docs/CONFIGURATION.md").map(String::as_str),
    ));
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
        for (name, first, body) in functions(source) {
            let lines = source.lines_of_code(body);
            if lines > MOST_LINES_OF_FUNCTION && !source.is_test_line(first) {
                faults.push(format!(
                    "{}:{first}: {name} has {lines} lines of code, of {MOST_LINES_OF_FUNCTION} at most; give its parts names",
                    source.path
                ));
            }
        }
    }
    faults
}

/// Words that do not belong where they stand. Clippy knows most of these too; this one cannot be told to look away, except
/// for an `unwrap` or `expect` under a `#[expect]` that gives its reason.
fn words(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let mut fault = |line: usize, what: &str| faults.push(format!("{}:{line}: {what}", source.path));
        source.walk(&mut |tokens, at, excused| {
            let line = tokens[at].span().start().line;
            let program = source.is_program() && !source.is_test_line(line);
            let word = match &tokens[at] {
                TokenTree::Ident(ident) => ident.to_string(),
                TokenTree::Group(group) if is_attribute(tokens, at) => {
                    attribute(group.stream(), &mut |what| fault(line, what));
                    return;
                }
                _ => return,
            };
            let is_method = at > 0 && is_punct(tokens.get(at - 1), '.') && is_group(tokens.get(at + 1), Delimiter::Parenthesis);
            let is_macro = is_punct(tokens.get(at + 1), '!') && !is_punct(tokens.get(at + 2), '=');
            match word.as_str() {
                "unwrap" | "expect" if is_method && arguments(tokens, at) == usize::from(word == "expect") && program && !excused => fault(
                    line,
                    &format!("{word}() in the program; return an error, or say under #[expect(clippy::{word}_used, reason = …)] why it cannot fail"),
                ),
                "todo" | "unimplemented" | "dbg" if is_macro => fault(line, &format!("{word}! is for drafts; finish it, or take it away")),
                "print" | "println" | "eprint" | "eprintln" if is_macro && program && source.top() != Some("cli") => {
                    fault(line, &format!("{word}! outside cli; log it with tracing, or return it"));
                }
                _ => {}
            }
        });
    }
    faults
}

/// How many arguments the method at `at` is called with: a method of ours that is called `expect` takes more than one.
fn arguments(tokens: &[TokenTree], at: usize) -> usize {
    let Some(TokenTree::Group(group)) = tokens.get(at + 1) else {
        return 0;
    };
    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
    let arguments = inside.split(|token| is_punct(Some(token), ','));
    arguments.filter(|argument| !argument.is_empty()).count()
}

/// What is wrong with an attribute, whose inside this is.
fn attribute(inside: TokenStream, fault: &mut dyn FnMut(&str)) {
    let tokens: Vec<TokenTree> = inside.into_iter().collect();
    if tokens.len() == 1 && is_ident(tokens.first(), "ignore") {
        fault("#[ignore] without a reason; write #[ignore = \"needs …\"], and have .ci/run run it");
    }
    // Also inside cfg_attr(…).
    let mut found = false;
    walk(&tokens, false, &mut |tokens, at, _| {
        found |= is_ident(tokens.get(at), "allow") && is_group(tokens.get(at + 1), Delimiter::Parenthesis);
    });
    if found {
        fault("#[allow(…)] stays when it has become needless; write #[expect(…, reason = \"…\")]");
    }
}

/// Names that mean something on one machine only, or that belong to how packages are fetched.
fn places(texts: &BTreeMap<String, String>) -> Vec<String> {
    // Put together here, so that this file names none of them either.
    let folders = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ["index", "crates.io"],
        ["static", "crates.io"],
        ["registry", "npmjs.org"],
        ["registry", "yarnpkg.com"],
        ["files", "pythonhosted.org"],
        ["pypi", "org"],
        ["deb", "debian.org"],
        ["security", "debian.org"],
        ["proxy", "golang.org"],
    ]
    .map(|parts| parts.join("."));
    let mut faults = Vec::new();
    for (path, text) in texts {
        for (line, text) in (1..).zip(text.lines()) {
            for folder in folders.iter().filter(|folder| has_folder(text, folder)) {
                faults.push(format!(
                    "{path}:{line}: {folder} is a folder of one machine; name it from the repository's root"
                ));
            }
            for host in hosts.iter().filter(|host| text.contains(host.as_str())) {
                faults.push(format!(
                    "{path}:{line}: {host} is a registry's host; leave it to the package manager's own settings"
                ));
            }
        }
    }
    faults
}

/// Whether an absolute path in `text` begins with `folder`: neither part of a longer path nor of an address.
fn has_folder(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '.' | '-' | '_' | '}' | ')'))
    })
}

/// Settings that `src/config.rs`, the file of defaults and `docs/CONFIGURATION.md` do not all know.
fn settings(config: &str, defaults: &str, guide: Option<&str>) -> Vec<String> {
    let known = listed(config);
    let mut faults = Vec::new();
    if known.is_empty() {
        faults.push("src/config.rs: the lists SECRETS and PLAIN are not there any more; mend the rule".to_owned());
    }
    let documented: BTreeSet<String> = defaults
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| {
            let (name, _) = line.trim_start_matches("# ").split_once(" = ")?;
            let is_name = name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            is_name.then(|| name.to_uppercase())
        })
        .collect();
    for name in known.difference(&documented) {
        let name = name.to_lowercase();
        faults.push(format!(
            "config/default.toml: {name} is missing; add it with its default, or as `# {name} = …`"
        ));
    }
    for name in documented.difference(&known) {
        faults.push(format!(
            "config/default.toml: {} is in neither SECRETS nor PLAIN of src/config.rs; add it there, or take it away",
            name.to_lowercase()
        ));
    }
    let words: Option<BTreeSet<&str>> =
        guide.map(|guide| guide.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect());
    let named = |name: &&str| words.as_ref().is_none_or(|words| words.contains(name));
    let all = known.iter().map(String::as_str).chain(HOSTS_SETTINGS.iter().copied());
    faults.extend(
        all.filter(|name| !named(name))
            .map(|name| format!("docs/CONFIGURATION.md: the setting {name} is missing; add it to the table")),
    );
    faults
}

/// The names in the lists `SECRETS` and `PLAIN`.
fn listed(config: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in syn::parse_file(config).unwrap().items {
        let syn::Item::Const(list) = item else { continue };
        if list.ident == "SECRETS" || list.ident == "PLAIN" {
            let syn::Expr::Array(array) = *list.expr else {
                panic!("{} is not an array", list.ident)
            };
            names.extend(array.elems.into_iter().map(|name| match name {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(name),
                    ..
                }) => name.value(),
                _ => panic!("a name of a setting is not a text"),
            }));
        }
    }
    names
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
fn an_import_against_the_arrows_is_found_however_it_is_written() {
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
fn imports_along_the_arrows_and_those_of_tests_are_fine() {
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
fn only_the_demo_imports_the_fakes_and_every_module_has_a_row() {
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
fn a_domain_that_reads_waits_or_sends_is_found() {
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

#[test]
fn a_file_without_a_header_is_found() {
    check(
        headers,
        &[("src/a.rs", "//! Says it."), ("tests/it/b.rs", "fn f() {}")],
        &["tests/it/b.rs: say on the first line"],
    );
}

#[test]
fn what_is_too_long_is_found() {
    let long = "// A line.\n".repeat(401);
    let airy = format!("fn long() {{\n{}}}", "    f();\n\n    // Why.\n".repeat(78));
    let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}");
    let body = format!(
        "fn short() {{}}\n/// Docs.\nfn long() {{\n{}}}",
        "    f();\n".repeat(81)
    );
    check(
        lengths,
        &[("src/a.rs", &long)],
        &["src/a.rs: 401 lines, of 400 at most"],
    );
    check(
        lengths,
        &[("src/a.rs", &body)],
        &["src/a.rs:3: long has 81 lines of code, of 80 at most"],
    );
    let method = format!("impl A {{\n{body}\n}}");
    check(
        lengths,
        &[("src/a.rs", &method)],
        &["src/a.rs:4: long has 81 lines of code"],
    );
    check(
        lengths,
        &[
            ("src/store/sqlite.rs", &long),
            ("tests/it/b.rs", &long),
            ("src/a.rs", &tests),
            ("src/b.rs", &airy),
        ],
        &[],
    );
}

#[test]
fn words_out_of_place_are_found() {
    let cases = [
        ("fn f() { g().unwrap(); }", "src/a.rs:1: unwrap() in the program"),
        (
            "fn f() { h!(g().expect(\"x\")) }",
            "src/a.rs:1: expect() in the program",
        ),
        ("fn f() {\n    todo!()\n}", "src/a.rs:2: todo! is for drafts"),
        ("fn f() { dbg!(1); }", "src/a.rs:1: dbg! is for drafts"),
        ("fn f() { println!(\"x\"); }", "src/a.rs:1: println! outside cli"),
        ("#![allow(dead_code)]", "src/a.rs:1: #[allow(…)] stays"),
        (
            "#[cfg_attr(test, allow(dead_code))]\nfn f() {}",
            "src/a.rs:1: #[allow(…)] stays",
        ),
        ("#[ignore]\nfn f() {}", "src/a.rs:1: #[ignore] without a reason"),
        (
            "#[expect(clippy::unwrap_used)]\nfn f() { g().unwrap() }",
            "src/a.rs:2: unwrap() in the program",
        ),
        (
            "#[expect(clippy::unwrap_used, reason = \"r\")]\nfn f() { g().unwrap() }\nfn h() { g().unwrap() }",
            "src/a.rs:3: unwrap() in the program",
        ),
    ];
    for (text, expected) in cases {
        check(words, &[("src/a.rs", text)], &[expected]);
    }
    let fine = [
        ("src/cli/mod.rs", "fn f() { println!(\"x\"); }"),
        (
            "src/a.rs",
            "fn f() { let x = \"todo! .unwrap() #[allow(x)]\"; a.todo != b; x.unwrap_or(1); } // dbg!()",
        ),
        ("src/a.rs", "#[test]\n#[ignore = \"needs Node\"]\nfn f() {}"),
        ("src/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { g().unwrap(); }\n}"),
        (
            "src/a.rs",
            "fn f() {\n    #[expect(clippy::expect_used, reason = \"r\")]\n    let g = || h().expect(\"x\");\n}",
        ),
        ("src/a.rs", "fn f() { progress.expect(lead, \"x\"); }"),
        ("tests/it/a.rs", "fn f() { g().unwrap(); println!(); }"),
    ];
    for text in fine {
        check(words, &[text], &[]);
    }
}

#[test]
fn machines_and_registries_are_found() {
    let folder = ["", "home", "me"].join("/");
    let host = ["pypi", "org"].join(".");
    let text = format!("fine\nsee {folder}/x\nfrom https://{host}/simple\nhttps://example.org{folder}/x");
    let faults = places(&[("docs/a.md".to_owned(), text)].into());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("docs/a.md:2: /home"), "{faults:?}");
    assert!(faults[1].starts_with("docs/a.md:3: "), "{faults:?}");
}

#[test]
fn a_setting_that_is_not_known_everywhere_is_found() {
    let config = "const SECRETS: [&str; 1] = [\"API_TOKEN\"];\nconst PLAIN: [&str; 1] = [\"TAG_DELAY\"];";
    let defaults = "# What there is = this.\n# api_token = \"…\"\ntag_delay = \"15s\"\n[mapping]\nEmail = \"x\"\n";
    assert!(settings(config, defaults, None).is_empty());
    assert!(settings(config, defaults, Some("| `API_TOKEN` | `TAG_DELAY` | `PORT` |")).is_empty());
    let faults = settings(
        config,
        "tag_delay = 1\ntag_dealy = 2",
        Some("`TAG_DELAYS`, `PORT`, API_TOKEN_FILE"),
    );
    let expected = [
        "config/default.toml: api_token is missing",
        "config/default.toml: tag_dealy is in neither",
        "docs/CONFIGURATION.md: the setting API_TOKEN is missing",
        "docs/CONFIGURATION.md: the setting TAG_DELAY is missing",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    assert!(
        faults
            .iter()
            .zip(expected)
            .all(|(fault, start)| fault.starts_with(start)),
        "{faults:#?}"
    );
    assert_eq!(settings("const OTHER: u8 = 1;", "", None).len(), 1);
}
