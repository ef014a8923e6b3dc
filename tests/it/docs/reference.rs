//! The reference pages have every setting, route, option and module of the program, and no other.

use std::collections::{BTreeMap, BTreeSet};

use bigin_sync::config::{DEFAULTS, is_secret};
use bigin_sync::domain::reject_reason::RejectReason;
use bigin_sync::http::{API, Document, PAGES, PUBLIC_ROUTES};
use serde_json::Value;
use utoipa::OpenApi as _;

use super::page::{Page, page, root};

/// The cells of each row of the page's tables, without the heads.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("|---"));
    let rows = lines.iter().enumerate().filter(|(at, _)| !is_head(*at));
    rows.filter_map(|(_, line)| cells(line)).collect()
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inside.split(" | ").map(str::trim).collect())
}

/// The code that a cell is, where it is nothing else.
fn code(cell: &str) -> Option<&str> {
    let code = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!code.contains('`')).then_some(code)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

// --- Settings --------------------------------------------------------------------------------------------------------

/// What the file of defaults says of a setting.
#[derive(Debug, PartialEq)]
enum Default {
    Value(String),
    Required,
    /// Commented out: there is none, or it follows from others.
    None,
}

fn defaults(file: &str) -> BTreeMap<String, Default> {
    let mut defaults = BTreeMap::new();
    for line in file.lines().take_while(|line| !line.starts_with('[')) {
        let setting = line.trim_start_matches("# ");
        let Some((name, rest)) = setting.split_once(" = ") else {
            continue;
        };
        if !name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_') {
            continue;
        }
        let (value, comment) = rest.split_once(" #").unwrap_or((rest, ""));
        let default = if !line.starts_with("# ") {
            Default::Value(value.trim().trim_matches('"').to_owned())
        } else if comment.trim().starts_with("required") {
            Default::Required
        } else {
            Default::None
        };
        defaults.insert(name.to_uppercase(), default);
    }
    defaults
}

/// What is wrong in the tables of settings.
fn setting_faults(guide: &str, file: &str) -> Vec<String> {
    let defaults = defaults(file);
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows(guide) {
        let [name, default, meaning] = row[..] else { continue };
        let Some(name) = code(name) else {
            faults.push(format!("{name}: one setting in a row"));
            continue;
        };
        if !seen.insert(name.to_owned()) {
            faults.push(format!("{name} has two rows"));
        }
        let is_right = match defaults.get(name) {
            None => {
                faults.push(format!("{name} is no setting"));
                continue;
            }
            Some(Default::Value(value)) => code(default) == Some(value),
            Some(Default::Required) => default == "required",
            Some(Default::None) => default == "none" || default.starts_with("derived"),
        };
        if !is_right {
            faults.push(format!("{name}: the default is not {default}"));
        }
        if is_secret(name) != meaning.starts_with("Secret.") {
            faults.push(format!("{name}: is it a secret?"));
        }
    }
    let missing = defaults.keys().filter(|name| !seen.contains(*name));
    faults.extend(missing.map(|name| format!("{name} has no row")));
    faults
}

#[test]
fn configuration_has_settings_and_defaults() {
    let faults = setting_faults(&text("docs/CONFIGURATION.md"), DEFAULTS);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(defaults(DEFAULTS).len() > 35);
}

#[test]
fn finds_wrong_row_of_a_setting() {
    let file = "# What there is = this.\n# admin_token = \"…\"  # required\ntag_delay = \"15s\"\n# public_url = \"x\"\n[mapping]\nA = \"b\"\n";
    let head = "| setting | default | meaning |\n|---|---|---|\n";
    let right = "| `ADMIN_TOKEN` | required | Secret. x |\n| `TAG_DELAY` | `15s` | x |\n| `PUBLIC_URL` | none | x |\n";
    assert_eq!(setting_faults(&format!("{head}{right}"), file), Vec::<String>::new());
    for (from, to, fault) in [
        ("`15s`", "`16s`", "TAG_DELAY: the default is not `16s`"),
        ("`15s`", "15s", "TAG_DELAY: the default is not 15s"),
        ("required", "none", "ADMIN_TOKEN: the default is not none"),
        ("| none |", "| `x` |", "PUBLIC_URL: the default is not `x`"),
        ("Secret. ", "", "ADMIN_TOKEN: is it a secret?"),
        ("`TAG_DELAY`", "`TAG_DELY`", "TAG_DELY is no setting"),
        ("| `PUBLIC_URL` | none | x |\n", "", "PUBLIC_URL has no row"),
        ("`PUBLIC_URL`", "`TAG_DELAY`", "TAG_DELAY has two rows"),
        ("`PUBLIC_URL`", "`PUBLIC_URL`, `PORT`", "one setting in a row"),
    ] {
        let faults = setting_faults(&format!("{head}{}", right.replace(from, to)), file);
        assert!(faults.iter().any(|found| found.contains(fault)), "{fault}: {faults:?}");
    }
}

// --- Routes ----------------------------------------------------------------------------------------------------------

/// The routes of the page that are not those of the router, and the other way round. Of the pages `GET /` stands for all.
fn route_faults(guide: &str) -> Vec<String> {
    let named: Vec<&str> = rows(guide)
        .into_iter()
        .filter_map(|row| code(row[0]))
        .filter(|route| route.contains(" /"))
        .collect();
    let open = PUBLIC_ROUTES
        .iter()
        .map(|address| (address.path.to_owned(), address.methods));
    let api = API
        .iter()
        .map(|address| (format!("/api{}", address.path), address.methods));
    let routes = open
        .chain(api)
        .flat_map(|(path, methods)| methods.iter().map(move |method| format!("{method} {path}")));
    assert!(PAGES.iter().any(|page| page.path == "/"));
    let mounted: BTreeSet<String> = routes.chain(["GET /".to_owned()]).collect();
    let told: BTreeSet<String> = named.iter().map(|&route| route.to_owned()).collect();
    let mut faults: Vec<String> = Vec::new();
    faults.extend(mounted.difference(&told).map(|route| format!("{route} has no row")));
    faults.extend(told.difference(&mounted).map(|route| format!("there is no {route}")));
    if told.len() != named.len() {
        faults.push("a route has two rows".to_owned());
    }
    faults
}

#[test]
fn api_has_every_route() {
    let guide = text("docs/API.md");
    assert_eq!(route_faults(&guide), Vec::<String>::new());
    let wrong = guide.replace("`GET /livez`", "`GET /lives`");
    assert_eq!(
        route_faults(&wrong),
        ["GET /livez has no row", "there is no GET /lives"]
    );
    let twice = guide.replace("`GET /livez`", "`GET /readyz`");
    assert_eq!(route_faults(&twice), ["GET /livez has no row", "a route has two rows"]);
}

/// Parameters of a query that the row of their route does not name.
fn parameter_faults(guide: &str) -> Vec<String> {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let rows = rows(guide);
    let mut faults = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            let row = rows.iter().find(|row| code(row[0]) == Some(&route));
            let row = row.map(|row| row.join(" ")).unwrap_or_default();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
                let name = parameter["name"].as_str().unwrap();
                if !row.contains(&format!("`{name}`")) && !row.contains(&format!("`?{name}=")) {
                    faults.push(format!("{route}: the parameter {name} is missing"));
                }
            }
        }
    }
    faults
}

#[test]
fn api_has_every_query_parameter() {
    let guide = text("docs/API.md");
    assert_eq!(parameter_faults(&guide), Vec::<String>::new());
    let wrong = guide.replace("`part`", "a part");
    assert_eq!(
        parameter_faults(&wrong),
        ["GET /api/syncs: the parameter part is missing"]
    );
}

#[test]
fn api_sync_has_the_fields_of_the_schema() {
    let page = page("docs/API.md");
    let block = page.blocks.iter().find(|block| block.role == "sync").unwrap();
    let shown: Value = serde_json::from_str(&block.text).unwrap();
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let schemas = &document["components"]["schemas"];
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let mut expected = names(&schemas["Sync"]["properties"]);
    // Only in the answer to a retry.
    assert!(expected.remove("unavailable"));
    assert_eq!(names(&shown), expected);
    let event = &shown["events"][0];
    assert_eq!(names(event), names(&schemas["SyncEvent"]["properties"]));
}

// --- Commands --------------------------------------------------------------------------------------------------------

/// Options that several commands share; the page has them in a table of their own.
const COMMON: &[&str] = &["config", "env-file", "url", "json", "help"];

/// The text below each heading of the second level.
fn sections(text: &str) -> BTreeMap<&str, &str> {
    let parts = text.split("\n## ").skip(1);
    parts.filter_map(|part| part.split_once('\n')).collect()
}

/// Names after `--` in code.
fn options(section: &str) -> BTreeSet<String> {
    let spans = Page::parse("docs/CLI.md", section).spans();
    let words = spans
        .iter()
        .flat_map(|(_, span)| span.split_whitespace())
        .filter_map(|word| word.strip_prefix("--"));
    let names = words.map(|word| word.split(['=', '`', ',']).next().unwrap_or_default().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// What the page lacks of the program's commands and options, and what it has beside them.
fn command_faults(guide: &str) -> Vec<String> {
    let sections = sections(guide);
    let mut faults = Vec::new();
    let common = options(sections["Common options"]);
    for name in COMMON
        .iter()
        .filter(|name| **name != "help" && !common.contains(**name))
    {
        faults.push(format!("--{name} is not among the common options"));
    }
    let definition = bigin_sync::cli::definition();
    let mut known = BTreeSet::new();
    for command in definition.get_subcommands() {
        let name = command.get_name();
        known.insert(format!("`bigin-sync {name}`"));
        let Some(section) = sections.get(format!("`bigin-sync {name}`").as_str()) else {
            faults.push(format!("{name} has no section"));
            continue;
        };
        let commands = || std::iter::once(command).chain(command.get_subcommands());
        let long = commands().flat_map(clap::Command::get_arguments);
        let all: BTreeSet<&str> = long.filter_map(clap::Arg::get_long).collect();
        let told = options(section);
        for option in all.iter().filter(|option| !COMMON.contains(option)) {
            if !told.contains(*option) {
                faults.push(format!("{name}: --{option} is missing"));
            }
        }
        let values = command.get_positionals().filter_map(clap::Arg::get_value_names);
        for value in values.flatten().filter(|value| !section.contains(value.as_str())) {
            faults.push(format!("{name}: {value} is missing"));
        }
        for option in told.iter().filter(|option| !all.contains(option.as_str())) {
            faults.push(format!("{name} has no --{option}"));
        }
    }
    let others = sections.keys().filter(|heading| heading.starts_with("`bigin-sync "));
    for heading in others.filter(|heading| !known.contains(**heading)) {
        faults.push(format!("there is no {heading}"));
    }
    faults
}

#[test]
fn cli_has_every_command_and_option() {
    let guide = text("docs/CLI.md");
    assert_eq!(command_faults(&guide), Vec::<String>::new());
    for (from, to, fault) in [
        ("| `--keep` |", "| `--kept` |", "demo: --keep is missing"),
        ("| `--keep` |", "| `--kept` |", "demo has no --kept"),
        ("## `bigin-sync man`", "## `bigin-sync men`", "man has no section"),
        (
            "## `bigin-sync man`",
            "## `bigin-sync men`",
            "there is no `bigin-sync men`",
        ),
        ("| `--yes` | (`auth", "| `--no` | (`auth", "auth: --yes is missing"),
        ("| `CODE` |", "| the code |", "auth: CODE is missing"),
        ("| `--url URL` |", "| `URL` |", "--url is not among the common options"),
    ] {
        let faults = command_faults(&guide.replace(from, to));
        assert!(faults.iter().any(|found| found == fault), "{fault}: {faults:?}");
    }
}

// --- Modules ---------------------------------------------------------------------------------------------------------

/// The modules of `src/lib.rs` that are part of the program.
fn modules() -> BTreeSet<String> {
    let lib = syn::parse_file(&text("src/lib.rs")).unwrap();
    let modules = lib.items.into_iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.ident != "testing" => Some(module.ident.to_string()),
        _ => None,
    });
    modules.collect()
}

/// Paths that the page names and that do not exist, and modules that its map lacks.
fn architecture_faults(guide: &str) -> Vec<String> {
    let page = Page::parse("docs/ARCHITECTURE.md", guide);
    let mut faults = Vec::new();
    let mut paths = 0;
    for (line, span) in page.spans() {
        let is_plain = span.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-".contains(&c));
        let has_ending = [".rs", ".toml", ".html", ".css", ".js", ".ts", ".yml", ".md", ".sql"]
            .iter()
            .any(|ending| span.ends_with(ending));
        if is_plain && (has_ending || (span.contains('/') && !span.starts_with('/'))) {
            paths += 1;
            if !root().join(&span).exists() {
                faults.push(format!("{}: there is no {span}", page.at(line)));
            }
        }
    }
    if paths < 20 {
        faults.push(format!("only {paths} paths are named"));
    }
    let map = page.blocks.iter().find(|block| block.role == "modules");
    let map: BTreeSet<String> = map
        .map_or("", |block| &block.text)
        .lines()
        .filter_map(|line| line.split("  ").next())
        .flat_map(|names| names.split(", "))
        .map(str::to_owned)
        .collect();
    let modules = modules();
    faults.extend(modules.difference(&map).map(|name| format!("the map lacks {name}")));
    faults.extend(
        map.difference(&modules)
            .map(|name| format!("there is no module {name}")),
    );
    let rows = rows(sections(guide).get("To change …").copied().unwrap_or_default());
    if rows.len() < 10 {
        faults.push(format!("only {} rows say where to change what", rows.len()));
    }
    let without_path = rows.iter().filter(|row| !row[1].contains('`'));
    faults.extend(without_path.map(|row| format!("the row {:?} names no path", row[0])));
    faults
}

#[test]
fn architecture_names_existing_modules() {
    let guide = text("docs/ARCHITECTURE.md");
    assert_eq!(architecture_faults(&guide), Vec::<String>::new());
    let wrong = guide.replace("`src/domain/state.rs`", "`src/domain/status.rs`");
    assert!(architecture_faults(&wrong)[0].ends_with("there is no src/domain/status.rs"));
    let wrong = guide.replace("`src/http/connections.rs`", "the limits");
    assert_eq!(
        architecture_faults(&wrong),
        ["the row \"limits of connections\" names no path"]
    );
    let wrong = guide.replace("\nworkers ", "\nlabourers ");
    assert_eq!(
        architecture_faults(&wrong),
        ["the map lacks workers", "there is no module labourers"]
    );
}

// --- Terms -----------------------------------------------------------------------------------------------------------

/// Code of the glossary that no source of the program contains.
fn unknown_terms(guide: &str) -> Vec<String> {
    let mut program = DEFAULTS.to_uppercase();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                program.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let spans = Page::parse("docs/GLOSSARY.md", guide).spans();
    let terms = spans.into_iter().map(|(_, span)| span);
    terms
        .filter(|term| !program.contains(term.as_str()) && !root().join(term).exists())
        .collect()
}

#[test]
fn glossary_has_the_names_of_the_program() {
    let guide = text("docs/GLOSSARY.md");
    assert_eq!(unknown_terms(&guide), Vec::<String>::new());
    let terms = rows(&guide).len();
    assert!((35..=60).contains(&terms), "{terms} terms");
    let wrong = guide.replace("`tag_not_before`", "`tag_not_sooner`");
    assert_eq!(unknown_terms(&wrong), ["tag_not_sooner"]);
}

// --- Errors ----------------------------------------------------------------------------------------------------------

#[test]
fn errors_has_every_reject_reason() {
    let text = text("docs/ERRORS.md");
    let headings: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, BTreeSet::from(RejectReason::CODES));
    for section in text.split("\n### ").skip(1) {
        let (code, rest) = section.split_once('\n').unwrap();
        assert!(rest.contains("**Means:** ") && rest.contains("**Fix:** "), "{code}");
    }
}
