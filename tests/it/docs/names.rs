//! What the guides call by its name: every alert has its place in `docs/OPERATIONS.md`, every known problem its question in
//! `docs/FAQ.md`, every acceptance criterion its tests in `docs/TESTING.md`, every message that is quoted is one that a test
//! has seen.

use std::collections::{BTreeMap, BTreeSet};

use bigin_sync::domain::reject_reason::{ReasonKey, RejectReason};
use bigin_sync::domain::state::State;
use proc_macro2::{TokenStream, TokenTree};

use super::page::{page, pages, root};
use super::rules::tests;

/// Problems that the original plan lists, with the question of the FAQ that answers each.
const PROBLEMS: &[(&str, &str)] = &[
    ("OAUTH_SCOPE_MISMATCH", "Bigin returns OAUTH_SCOPE_MISMATCH"),
    ("invalid_code Error", "The code is rejected with invalid_code"),
    ("No Refresh Token Returned", "There is no refresh token"),
    (
        "Multi-Organization Confusion",
        "Which organisation do I get, and what if it is the wrong one?",
    ),
    ("Rate Limiting", "Zoho grants no more tokens"),
    ("Token Refresh Fails", "The refresh token stopped working"),
    ("Tag doesn't exist in Bigin", "The tag does not exist in Bigin"),
    (
        "Wrong organization selected",
        "Which organisation do I get, and what if it is the wrong one?",
    ),
    ("Token expires mid-operation", "A token expires during the work"),
    (
        "Conversation too long for Description",
        "A conversation is too long for Description",
    ),
    (
        "Rate limiting (100 contacts/call)",
        "A hundred contacts in one call, and Bigin's limits",
    ),
    ("Upsert finds wrong duplicate", "The upsert found the wrong contact"),
    ("15-second wait times out", "Does the wait of 15 seconds time out?"),
    ("Automation doesn't trigger", "The automation does not start"),
];

/// The lines of its testing checklist: the acceptance criteria.
const CHECKLIST: &[&str] = &[
    "Self-client created in Zoho API Console",
    "Authorization code generated successfully",
    "Access token + refresh token received",
    "Refresh token stored in `.env.local`",
    "Token refresh function works (generates new access token)",
    "New contact creates successfully in Bigin",
    "Existing contact updates (no duplicate created)",
    "Phone number format preserved (+44...)",
    "Email address included",
    "Postcode/address fields populated",
    "Conversation history appears in Description",
    "Tag \"DBR_Dashboard_Import\" adds successfully after 15s",
    "Multiple tags can be added (if needed)",
    "Existing tags not overwritten",
    "Tag triggers Bigin automation correctly",
    "Invalid lead ID returns 404",
    "OAuth failure shows clear error",
    "Bigin API down shows error message",
    "User can retry failed sends",
    "Loading state shows during 15s wait",
    "\"In CRM\" badge shows after successful send",
    "Lead marked as SENT in Sanity",
    "biginContactId stored correctly",
    "lastSyncedAt timestamp accurate",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The alerts of `ALERT_URL` by the name that they are kept under.
fn alerts() -> BTreeSet<String> {
    let source = read("src/domain/alert.rs");
    let (_, after) = source.split_once("pub enum AlertKind {").unwrap();
    let (body, _) = after.split_once("\n}").unwrap();
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let names: BTreeSet<String> = names
        .filter(|name| name.chars().all(char::is_alphabetic))
        .map(snake)
        .collect();
    assert!(names.contains("leads_failed") && names.len() > 10, "{names:?}");
    names
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The rules for Prometheus, with how urgent each is.
fn rules() -> BTreeMap<String, String> {
    let text = read("deploy/observability/alerts.yml");
    let mut rules = BTreeMap::new();
    let mut name = None;
    for line in text.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            name = Some(alert.to_owned());
        } else if let Some(rest) = line.strip_prefix("labels: { severity: ") {
            rules.insert(name.take().unwrap(), rest.trim_end_matches([' ', '}']).to_owned());
        }
    }
    assert!(rules.len() > 10 && name.is_none());
    rules
}

/// The text of a page below each heading that begins with code, by that code.
fn by_name(text: &str) -> BTreeMap<String, String> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    let mut name: Option<String> = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim();
            name = heading
                .strip_prefix('`')
                .and_then(|rest| rest.split('`').next())
                .map(str::to_owned);
            if let Some(name) = &name {
                let twice = sections.insert(name.clone(), String::new());
                assert!(twice.is_none(), "{name} has two headings");
            }
        } else if let Some(section) = name.as_ref().and_then(|name| sections.get_mut(name)) {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

#[test]
fn alerts_have_headings_in_the_guide() {
    let sections = by_name(&read("docs/OPERATIONS.md"));
    let rules = rules();
    let known: BTreeSet<String> = alerts().into_iter().chain(rules.keys().cloned()).collect();
    let told: BTreeSet<String> = sections.keys().cloned().collect();
    assert_eq!(told, known);
    for (name, section) in &sections {
        let words = rules
            .get(name)
            .map_or_else(|| vec!["now", "today", "this week"], |severity| vec![severity.as_str()]);
        let is_told = words.iter().any(|word| section.contains(&format!("**{word}")));
        assert!(is_told, "how urgent is {name}?");
        assert!(section.contains("**Do:**"), "what is to be done about {name}?");
    }
}

#[test]
fn required_scopes_are_explained() {
    let security = read("docs/SECURITY.md");
    let unexplained: Vec<&str> = bigin_sync::bigin::oauth::SCOPES
        .split(',')
        .filter(|scope| !security.contains(&format!("`{scope}`")))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn states_have_the_labels_of_the_dashboard() {
    let guide = read("docs/DASHBOARD.md");
    let rows = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let told: BTreeSet<&str> = rows.flat_map(|cell| cell.split(", ")).collect();
    let words: BTreeSet<&str> = State::SHOWN_NAMES.into_iter().map(|(_, name)| name).collect();
    assert!(words.len() == 8 && words.is_subset(&told), "{words:?} in {told:?}");
}

#[test]
fn alert_names_are_snake_case() {
    use bigin_sync::domain::alert::AlertKind;
    let kept = serde_json::to_value([
        AlertKind::ZohoAccountsUnauthorized,
        AlertKind::CreditsUsedUp,
        AlertKind::WebhooksMissed,
    ])
    .unwrap();
    let names = ["ZohoAccountsUnauthorized", "CreditsUsedUp", "WebhooksMissed"].map(snake);
    assert_eq!(kept, serde_json::json!(names));
}

/// Each has its heading once, and an answer of some length below it.
#[test]
fn known_problems_have_answers() {
    let faq = read("docs/FAQ.md");
    for (problem, question) in PROBLEMS {
        let heading = format!("\n### {question}\n");
        let mut after = faq.split(&heading).skip(1);
        let answer = after
            .next()
            .unwrap_or_else(|| panic!("{problem}: there is no {question:?}"));
        assert!(after.next().is_none(), "{question} is there twice");
        let answer = answer.split("\n#").next().unwrap_or_default();
        assert!(answer.trim().len() > 100, "{question} has no answer");
    }
}

#[test]
fn acceptance_criteria_name_existing_tests() {
    let page = page("docs/TESTING.md");
    let text = read("docs/TESTING.md");
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .collect();
    for line in CHECKLIST {
        let row = rows.iter().find(|(what, _)| what == line);
        let (_, shown_by) = row.unwrap_or_else(|| panic!("{line} is not there"));
        assert!(
            shown_by.contains("::") || shown_by.contains(".test."),
            "what shows {line:?}?"
        );
    }
    let missing: Vec<String> = named_tests(&page.spans())
        .into_iter()
        .filter(|test| !is_test(test))
        .collect();
    assert!(missing.is_empty(), "there is no {missing:?}");
    assert!(!is_test("upsert::no_such_test") && !is_test("deploy/nextjs/tests/nothing.test.ts: x"));
}

/// `module::function`, and `path.test.ts: name`.
fn named_tests(spans: &[(usize, String)]) -> Vec<String> {
    let names = spans.iter().map(|(_, span)| span.clone());
    names
        .filter(|span| span.contains(".test.") || (span.contains("::") && !span.contains([' ', '(', '…'])))
        .collect()
}

fn is_test(name: &str) -> bool {
    match name.split_once(": ") {
        Some((path, title)) => {
            let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            text.contains(title)
        }
        None if name.contains(".test.") => root().join(name).exists(),
        None => {
            let plain = |name: &str| name.replace("::tests::", "::").replace("::mod::", "::");
            tests().iter().any(|test| plain(test) == plain(name))
        }
    }
}

/// The modules in brackets have tests.
#[test]
fn security_names_existing_test_modules() {
    let text = read("docs/SECURITY.md");
    let brackets = text.split("*(").skip(1).filter_map(|rest| rest.split(")*").next());
    let modules: Vec<&str> = brackets
        .flat_map(|bracket| bracket.split('`').skip(1).step_by(2))
        .collect();
    assert!(modules.len() >= 10, "{modules:?}");
    let tests = tests();
    let has_tests = |module: &str| tests.iter().any(|test| test.starts_with(&format!("{module}::")));
    let missing: Vec<&str> = modules.into_iter().filter(|module| !has_tests(module)).collect();
    assert!(missing.is_empty(), "no tests in {missing:?}");
    assert!(!has_tests("guards"));
}

/// The table of SETUP has each prompt in the words of the program, in its order.
#[test]
fn setup_has_every_prompt() {
    let guide = read("docs/SETUP.md");
    let (_, table) = guide.split_once("| prompt | value |\n").unwrap();
    let told: Vec<&str> = table
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect();
    let mut prompts = Vec::new();
    for (file, before) in [
        ("src/cli/setup/answers.rs", "prompt: \""),
        ("src/cli/setup.rs", "let prompt = \""),
        ("src/cli/auth.rs", "prompt::text(\""),
        ("src/cli/auth.rs", "prompt::secret(\""),
        ("src/cli/auth/code.rs", "prompt::text(\""),
    ] {
        let source = read(file);
        let found = source.split(before).skip(1).filter_map(|rest| rest.split('"').next());
        let known = prompts.len();
        prompts.extend(found.map(str::to_owned));
        assert!(prompts.len() > known, "{file} has no {before}");
    }
    assert_eq!(told, prompts);
}

/// An example that retries by reason has a code that exists.
#[test]
fn reasons_in_examples_are_codes() {
    let text = pages().iter().map(|page| read(&page.path)).collect::<String>();
    let examples = text.split("{\"reason\": \"").skip(1);
    let keys: Vec<ReasonKey> = examples
        .filter_map(|rest| rest.split('"').next())
        .map(ReasonKey::parse)
        .collect();
    assert!(keys.len() >= 2, "{keys:?}");
    let is_known = |key: &ReasonKey| RejectReason::CODES.contains(&key.code.as_str());
    assert!(keys.iter().all(is_known), "{keys:?}");
    assert!(!is_known(&ReasonKey::parse(
        "Bigin rejected Email: not an email address"
    )));
}

/// What follows "text says" is what the program says: each line of it stands in a text that a test compares with.
#[test]
fn quoted_messages_are_tested_ones() {
    let seen = seen();
    let mut quoted = 0;
    let mut faults = Vec::new();
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.role == "says") {
            for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
                quoted += 1;
                let line = one_line(line);
                if line.len() < 15 || !seen.iter().any(|text| text.contains(&line)) {
                    faults.push(format!("{}: no test has seen {line:?}", page.at(block.line)));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(quoted >= 20, "only {quoted} are quoted");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The texts of the tests, but for those of this folder.
fn seen() -> Vec<String> {
    let mut seen = Vec::new();
    let mut folders = vec![root().join("tests/it"), root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "docs" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let is_test = !path.starts_with(root().join("src"))
                    || name == "tests.rs"
                    || path.parent().unwrap().ends_with("tests");
                let tests = if is_test {
                    text.as_str()
                } else {
                    text.split_once("mod tests {")
                        .map_or("", |(_, tests)| tests.rsplit_once('}').unwrap().0)
                };
                literals(tests.parse().unwrap(), &mut seen);
            }
        }
    }
    seen
}

fn literals(tokens: TokenStream, seen: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => literals(group.stream(), seen),
            TokenTree::Literal(literal) => {
                if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                    seen.push(one_line(&text.value()));
                }
            }
            _ => {}
        }
    }
}
