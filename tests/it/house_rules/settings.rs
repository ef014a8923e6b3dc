//! The settings are the same in `src/config.rs`, in the file of defaults and in the guide.

use std::collections::BTreeSet;

use super::assert_kept;
use super::source::texts;

/// Settings that have a name of their own and no default.
const HOSTS_SETTINGS: &[&str] = &["PORT"];

#[test]
fn settings_are_the_same_everywhere() {
    let texts = texts();
    assert_kept(settings(
        &texts["src/config.rs"],
        &texts["config/default.toml"],
        texts.get("docs/CONFIGURATION.md").map(String::as_str),
    ));
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

#[test]
fn finds_setting_missing_somewhere() {
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
