//! What must be so in every page: a rule is a function from pages to faults, so that a made-up page shows that it can fail.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bigin_sync::cli;
use bigin_sync::config::{ConfigError, DEFAULTS, Layers, Settings};
use bigin_sync::http::{API, PAGES, PUBLIC_ROUTES};
use clap::error::ErrorKind;
use serde_json::Value;

use super::page::{Block, Page, pages, root};
use super::shell::{assignment, bare, commands};

/// Variables in the guides' commands that are no settings of ours: of the tests, and of other programs.
const FOREIGN: &[&str] = &[
    "BIGIN_SYNC_DB",
    "LITESTREAM_REPLICA_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "PATH",
    "PROPTEST_CASES",
    "SCREENSHOTS",
    "SEARCH_MORE",
    "SIM_SEED",
    "SIM_FAILURES",
    "SIM_SEEDS",
    "SIM_SHRINK",
    "SITE_ADDRESS",
    "UPSTREAM",
];

type Rule = fn(&Page, &mut Vec<String>);

const RULES: &[Rule] = &[
    languages,
    syntax,
    our_commands,
    cargo_commands,
    variables,
    settings,
    json,
    names,
    routes,
    links,
    files,
];

#[test]
fn guides_follow_the_rules() {
    let faults: Vec<String> = pages().iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    for rule in RULES {
        rule(page, &mut faults);
    }
    faults
}

/// The blocks of a language, with where they are.
fn blocks<'a>(page: &'a Page, language: &str) -> impl Iterator<Item = (String, &'a Block)> {
    let blocks = page.blocks.iter().filter(move |block| block.language == language);
    blocks.map(|block| (page.at(block.line), block))
}

/// `text` is for pictures and messages; `ts` and `tsx` are what Rust cannot judge, and `deploy/check-apps` compiles.
fn languages(page: &Page, faults: &mut Vec<String>) {
    for block in &page.blocks {
        if !matches!(
            block.language.as_str(),
            "sh" | "env" | "toml" | "json" | "text" | "ts" | "tsx"
        ) {
            faults.push(format!("{}: nothing checks {:?}", page.at(block.line), block.language));
        }
    }
}

fn syntax(page: &Page, faults: &mut Vec<String>) {
    for (at, block) in blocks(page, "sh") {
        let mut shell = Command::new("/bin/sh")
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(block.text.as_bytes()).unwrap();
        let said = shell.wait_with_output().unwrap();
        if !said.status.success() {
            faults.push(format!("{at}: {}", String::from_utf8_lossy(&said.stderr).trim()));
        }
    }
}

/// Every command of the page, from its blocks and from code in its lines.
fn all_commands(page: &Page) -> Vec<(String, Vec<String>)> {
    let scripts = ["sh", "env"].into_iter().flat_map(|language| blocks(page, language));
    let scripts = scripts.map(|(at, block)| (at, block.text.clone()));
    let spans = page.spans().into_iter().map(|(line, span)| (page.at(line), span));
    scripts
        .chain(spans)
        .flat_map(|(at, script)| commands(&script).into_iter().map(move |words| (at.clone(), words)))
        .collect()
}

fn our_commands(page: &Page, faults: &mut Vec<String>) {
    for (at, words) in all_commands(page) {
        let words = bare(&words);
        let is_ours = |word: &String| word.rsplit('/').next() == Some("bigin-sync");
        let arguments = match words {
            // The name alone is the project's.
            [program, arguments @ ..] if is_ours(program) && !arguments.is_empty() => arguments,
            [cargo, run, rest @ ..] if cargo == "cargo" && run == "run" => match rest.iter().position(|w| w == "--") {
                Some(place) => &rest[place + 1..],
                None => continue,
            },
            _ => continue,
        };
        let known = cli::definition();
        // Any of them.
        let arguments = arguments
            .iter()
            .map(|word| if word == "COMMAND" { "serve" } else { word });
        let line = std::iter::once("bigin-sync").chain(arguments);
        // In a sentence a command may be named without what it takes.
        let is_named = words.len() == 2;
        if let Err(error) = known.try_get_matches_from(line)
            && error.exit_code() != 0
            && !(is_named && error.kind() == ErrorKind::MissingRequiredArgument)
        {
            faults.push(format!("{at}: `{}`: {error}", words.join(" ")));
        }
    }
}

/// `cargo test … NAME` runs something, and a feature exists.
fn cargo_commands(page: &Page, faults: &mut Vec<String>) {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    for (at, words) in all_commands(page) {
        let [cargo, action, rest @ ..] = bare(&words) else {
            continue;
        };
        if cargo != "cargo" {
            continue;
        }
        if !matches!(action.as_str(), "build" | "run" | "test" | "bench") {
            faults.push(format!("{at}: cargo {action} is nothing the guides explain"));
        }
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "--features" => {
                    let feature = rest.next().map_or("", String::as_str);
                    if manifest["features"].get(feature).is_none() {
                        faults.push(format!("{at}: there is no feature {feature:?}"));
                    }
                }
                "--test" | "--bench" => drop(rest.next()),
                "--" if action == "run" => break,
                _ if word.starts_with('-') => {}
                filter if action == "test" && !tests().iter().any(|test| test.contains(filter)) => {
                    faults.push(format!("{at}: no test is called {filter:?}"));
                }
                _ => {}
            }
        }
    }
}

/// `module::function` of every test of `tests/it` and of the program, as far as its file tells the module.
pub(super) fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut folders = vec![
        root().join("tests/it"),
        root().join("tests/otlp"),
        root().join("tests/simulation"),
        root().join("src"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                tests.extend(tests_of(&path));
            }
        }
    }
    tests
}

fn tests_of(path: &std::path::Path) -> Vec<String> {
    let name = path.strip_prefix(root()).unwrap().with_extension("");
    let name = name.to_str().unwrap().replace('/', "::");
    let name = name
        .trim_start_matches("tests::it::")
        .trim_start_matches("tests::simulation::")
        .trim_start_matches("src::");
    let text = std::fs::read_to_string(path).unwrap();
    let mut is_test = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.ends_with("test]") || line.contains("::test(");
        } else if let Some(rest) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
            if std::mem::take(&mut is_test) {
                found.push(format!("{name}::{}", rest.split('(').next().unwrap_or_default()));
            }
        } else if !line.starts_with("//") {
            // In proptest's macro a test has more attributes above it, and nothing else between.
            is_test &= line.is_empty();
        }
    }
    found
}

/// The names of the settings in capitals, as `config/default.toml` has them.
fn known_settings() -> BTreeSet<String> {
    let before_mapping = DEFAULTS.split("[mapping]").next().unwrap();
    let names = before_mapping.lines().filter_map(|line| {
        let (name, _) = line.trim_start_matches("# ").split_once(" = ")?;
        name.bytes()
            .all(|c| c.is_ascii_lowercase() || c == b'_')
            .then(|| name.to_uppercase())
    });
    let names: BTreeSet<String> = names.collect();
    assert!(names.len() > 30);
    names
}

fn is_setting(name: &str) -> bool {
    let known = known_settings();
    known.contains(name) || name.strip_suffix("_FILE").is_some_and(|secret| known.contains(secret)) || name == "PORT"
}

fn variables(page: &Page, faults: &mut Vec<String>) {
    for (at, words) in all_commands(page) {
        let set = words.len() - bare(&words).len();
        for name in words[..set].iter().filter_map(|word| assignment(word)) {
            if !is_setting(name) && !FOREIGN.contains(&name) {
                faults.push(format!("{at}: {name} is no setting"));
            }
        }
    }
}

/// A sample of `bigin-sync.toml` is valid, but for what it leaves out.
fn settings(page: &Page, faults: &mut Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    for (at, block) in blocks(page, "toml") {
        let file = folder.path().join("bigin-sync.toml");
        std::fs::write(&file, &block.text).unwrap();
        let layers = Layers::read(Some(&file), None, std::collections::BTreeMap::new());
        let (_, errors) = Settings::read(&layers);
        let errors = errors.iter().filter(|error| !matches!(error, ConfigError::Missing(_)));
        faults.extend(errors.map(|error| format!("{at}: {error}")));
    }
}

fn json(page: &Page, faults: &mut Vec<String>) {
    for (at, block) in blocks(page, "json") {
        if let Err(error) = serde_json::from_str::<Value>(&block.text) {
            faults.push(format!("{at}: {error}"));
        }
    }
}

/// A name in capitals, and the name of a metric, is one that something in the repository knows.
fn names(page: &Page, faults: &mut Vec<String>) {
    thread_local!(static CODE: String = code());
    for (line, span) in page.spans() {
        let is_name = span.contains('_')
            && !span.ends_with('_')
            && span
                .bytes()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
        let is_metric = span.starts_with("bigin_sync_") && span.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        let is_known = || is_setting(&span) || CODE.with(|code| code.contains(&span));
        if (is_name || is_metric) && !is_known() {
            faults.push(format!("{}: nothing is called {span}", page.at(line)));
        }
    }
}

/// Everything that is no page, but for the made-up names of these tests.
fn code() -> String {
    let mut code = String::new();
    let mut folders = vec![root().join("src"), root().join("deploy"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "node_modules" | "docs") {
                folders.push(path);
            } else if path.is_file() && !name.ends_with(".md") {
                code.extend(std::fs::read_to_string(path));
            }
        }
    }
    code
}

/// `POST /api/syncs`, `/readyz`, and what `curl` calls of ours.
fn routes(page: &Page, faults: &mut Vec<String>) {
    for (at, words) in all_commands(page) {
        let [first, rest @ ..] = &words[..] else { continue };
        let (method, address) = match (first.as_str(), rest) {
            ("GET" | "POST" | "PUT" | "DELETE" | "HEAD", [path, ..]) => (Some(first.as_str()), path.as_str()),
            ("curl", _) => {
                let of_ours = rest.iter().find_map(|word| our_path(word));
                let Some(path) = of_ours else { continue };
                let named = rest
                    .iter()
                    .skip_while(|word| *word != "-X" && *word != "--request")
                    .nth(1);
                let sends = rest
                    .iter()
                    .any(|word| matches!(word.as_str(), "-d" | "--data" | "--json"));
                let method = named.map_or(if sends { "POST" } else { "GET" }, String::as_str);
                (Some(method), path)
            }
            _ if ["/api/", "/webhooks/", "/livez", "/readyz", "/metrics"]
                .iter()
                .any(|begin| first.starts_with(begin)) =>
            {
                (None, first.as_str())
            }
            _ => continue,
        };
        if !is_mounted(method, address) {
            faults.push(format!("{at}: no route takes {} {address}", method.unwrap_or_default()));
        }
    }
}

/// The path of an address that is a service's of ours.
fn our_path(address: &str) -> Option<&str> {
    let hosts = [
        "http://127.0.0.1:8080",
        "http://localhost:8080",
        "https://crm.example.org",
        "$BIGIN_SYNC_URL",
    ];
    hosts.iter().find_map(|host| address.strip_prefix(host))
}

fn is_mounted(method: Option<&str>, address: &str) -> bool {
    let path = address.split('?').next().unwrap_or_default();
    let fits = |pattern: &str| {
        let (ours, theirs) = (pattern.split('/'), path.split('/'));
        ours.clone().count() == theirs.clone().count()
            && ours
                .zip(theirs)
                .all(|(ours, theirs)| ours == theirs || (ours.starts_with('{') && !theirs.is_empty()) || theirs == "…")
    };
    let mounted = PUBLIC_ROUTES
        .iter()
        .chain(PAGES)
        .map(|address| (address.path.to_owned(), address.methods));
    let api = API
        .iter()
        .map(|address| (format!("/api{}", address.path), address.methods));
    mounted
        .chain(api)
        .any(|(pattern, methods)| fits(&pattern) && method.is_none_or(|method| methods.contains(&method)))
        // Everything below it.
        || matches!(path, "/api/" | "/api/…")
}

fn links(page: &Page, faults: &mut Vec<String>) {
    let folder = root().join(&page.path);
    let folder = folder.parent().unwrap();
    for (line, link) in page.links() {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = if path.is_empty() {
            root().join(&page.path)
        } else {
            folder.join(path)
        };
        if !target.exists() && !path.is_empty() {
            faults.push(format!("{}: {link} leads nowhere", page.at(line)));
        } else if !anchor.is_empty() {
            let anchors = match std::fs::read_to_string(&target) {
                Ok(text) if !path.is_empty() => Page::parse(path, &text).anchors(),
                _ => page.anchors(),
            };
            if !anchors.iter().any(|known| known == anchor) {
                faults.push(format!("{}: {link} names no heading", page.at(line)));
            }
        }
    }
}

/// `src/…`, `docs/…` and the like are there.
fn files(page: &Page, faults: &mut Vec<String>) {
    for (line, span) in page.spans() {
        let top = span.split('/').next().unwrap_or_default();
        let is_path = span.contains('/') && span.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-".contains(&c));
        if is_path
            && matches!(
                top,
                "src" | "docs" | "deploy" | "tests" | "config" | "templates" | ".ci"
            )
            && !root().join(&span).exists()
        {
            faults.push(format!("{}: there is no {span}", page.at(line)));
        }
    }
}

#[test]
fn finds_faults_of_a_page() {
    let bad = [
        ("```yaml\na: 1\n```", "nothing checks \"yaml\""),
        ("```sh\nif true; then\n```", "end of file unexpected"),
        ("```sh\nbigin-sync statsu\n```", "unrecognized subcommand 'statsu'"),
        ("`bigin-sync send --wiat lead-1`", "unexpected argument '--wiat'"),
        (
            "```sh\ncargo run --release -- demo --keep-it\n```",
            "unexpected argument '--keep-it'",
        ),
        ("```sh\ncargo run --features nothing\n```", "no feature \"nothing\""),
        ("`cargo test --test it nobody_tests_this_rule`", "no test is called"),
        ("```sh\nTAG_DELY=15s bigin-sync serve\n```", "TAG_DELY is no setting"),
        ("```toml\ntag_dely = '15s'\n```", "unknown setting \"tag_dely\""),
        (
            "```toml\n[mapping]\nTitle = '{{ a|uper }}'\n```",
            "there is no filter \"uper\"",
        ),
        ("```json\n{\"a\": }\n```", "expected value"),
        ("`OAUTH_SCOPE_MISSMATCH`", "nothing is called OAUTH_SCOPE_MISSMATCH"),
        (
            "`bigin_sync_no_such_metric`",
            "nothing is called bigin_sync_no_such_metric",
        ),
        ("`POST /api/health`", "no route takes POST /api/health"),
        ("see `/api/helth`", "no route takes  /api/helth"),
        (
            "```sh\ncurl -X DELETE http://127.0.0.1:8080/api/syncs/1\n```",
            "no route takes DELETE",
        ),
        ("[x](nowhere.md)", "leads nowhere"),
        ("# Here\n\n[x](#there)", "names no heading"),
        ("[x](docs/BACKUP.md#baking-up)", "names no heading"),
        ("`src/nothing.rs`", "there is no src/nothing.rs"),
    ];
    for (text, fault) in bad {
        let found = faults(&Page::parse("README.md", text)).join("\n");
        assert!(found.contains(fault), "{text}: {found}");
    }
    let good = "# Say `it`!\n```sh\nsudo TAG_DELAY=2s bigin-sync send 'a b' # x\ncurl http://127.0.0.1:8080/api/syncs/7?x\n```\n\
        [x](#say-it) [y](docs/BACKUP.md#backing-up) `GET /syncs/7` `/api/syncs?limit=3` `TAG_DELAY` `ADMIN_TOKEN_FILE`\n";
    assert_eq!(faults(&Page::parse("README.md", good)), Vec::<String>::new());
}
