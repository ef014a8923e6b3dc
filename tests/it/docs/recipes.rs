//! Every recipe of `docs/MAPPING.md` makes of its sample what it says: a section with templates in `toml` has one or more
//! samples, each of a `json lead` and of the `json contact` that comes of it, or of the `text refused` that its editor reads.
//! `json fields` before it are the types of the custom fields that the organisation has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bigin_sync::config::{ConfigError, Layers, Settings};
use bigin_sync::domain::mapping::Mapping;
use bigin_sync::domain::record::{Field, OrgFields, Record};
use bigin_sync::domain::reject_reason::RejectReason;
use serde_json::{Map, Value, json};

use super::page::{Block, Page, page};

/// Fields that every organisation's Contacts have, of those that recipes use.
const STANDARD: &[(&str, &str)] = &[
    ("Last_Name", "text"),
    ("First_Name", "text"),
    ("Email", "email"),
    ("Phone", "phone"),
    ("Mobile", "phone"),
    ("Home_Phone", "phone"),
    ("Title", "text"),
    ("Mailing_Street", "text"),
    ("Mailing_City", "text"),
    ("Mailing_State", "text"),
    ("Mailing_Zip", "text"),
    ("Mailing_Country", "text"),
    ("Description", "textarea"),
];

#[test]
fn recipes_render_what_they_say() {
    let recipes = page("docs/MAPPING.md");
    let (samples, faults) = try_out(&recipes);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(samples >= 15, "only {samples} samples were tried");
}

/// How many samples there are, and what is wrong with them.
fn try_out(recipes: &Page) -> (usize, Vec<String>) {
    let (mut samples, mut faults) = (0, Vec::new());
    for section in sections(recipes) {
        let toml = section.iter().find(|block| block.language == "toml");
        let (mapping, recipe) = mapping(toml.map_or("", |block| &block.text));
        let fields = find(&section, "fields").map(|block| organisation(&block.text));
        let mut lead = None;
        let mut tried = 0;
        for block in &section {
            let at = recipes.at(block.line);
            match block.role.as_str() {
                "lead" => lead = Some(rendered(&mapping, &block.text, fields.as_ref())),
                "contact" | "refused" => {
                    tried += 1;
                    let made = lead
                        .take()
                        .unwrap_or_else(|| panic!("{at}: there is no lead before it"));
                    let whole = toml.is_none();
                    if let Some(fault) = compare(block, made, &recipe, whole) {
                        faults.push(format!("{at}: {fault}"));
                    }
                }
                "fields" | "says" | "" => {}
                role => faults.push(format!("{at}: what is a block of {role:?}?")),
            }
        }
        if let (Some(toml), 0, false) = (toml, tried, recipe.is_empty()) {
            faults.push(format!("{}: a recipe without a sample", recipes.at(toml.line)));
        }
        samples += tried;
    }
    (samples, faults)
}

/// The blocks from one heading to the next.
fn sections(page: &Page) -> Vec<Vec<&Block>> {
    let headings: Vec<usize> = page.headings().map(|(line, ..)| line).collect();
    let mut sections: BTreeMap<usize, Vec<&Block>> = BTreeMap::new();
    for block in &page.blocks {
        let section = headings.iter().filter(|line| **line < block.line).count();
        sections.entry(section).or_default().push(block);
    }
    sections.into_values().collect()
}

fn find<'a>(section: &[&'a Block], role: &str) -> Option<&'a Block> {
    section.iter().find(|block| block.role == role).copied()
}

/// The mapping that comes of a `bigin-sync.toml`, and the fields that it speaks of.
fn mapping(toml: &str) -> (Arc<Mapping>, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bigin-sync.toml");
    std::fs::write(&file, toml).unwrap();
    let layers = Layers::read(Some(&file), None, BTreeMap::new());
    let (settings, errors) = Settings::read(&layers);
    let of_mapping = |error: &ConfigError| matches!(error, ConfigError::Mapping(_));
    assert!(!errors.iter().any(of_mapping), "{errors:?}");
    let table: toml::Table = toml.parse().unwrap();
    let named = table.get("mapping").and_then(toml::Value::as_table);
    let named = named.into_iter().flat_map(toml::Table::keys).cloned().collect();
    (settings.mapping, named)
}

fn organisation(custom: &str) -> OrgFields {
    let custom: BTreeMap<String, String> = serde_json::from_str(custom).unwrap();
    let standard = STANDARD
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()));
    let field = |(name, data_type): (String, String)| {
        let field = Field {
            label: name.replace('_', " "),
            data_type,
            length: None,
            unique: false,
            read_only: false,
        };
        (name, field)
    };
    OrgFields(standard.chain(custom).map(field).collect())
}

fn rendered(mapping: &Mapping, lead: &str, fields: Option<&OrgFields>) -> Result<Record, RejectReason> {
    let mut document: Map<String, Value> = serde_json::from_str(lead).unwrap();
    for (name, value) in [
        ("_id", "lead-1"),
        ("_rev", "r"),
        ("_type", "dbrLead"),
        ("_updatedAt", "2026-11-22T10:00:00Z"),
    ] {
        document.entry(name).or_insert_with(|| json!(value));
    }
    mapping.render(document, fields)
}

/// What is not as the block says. A recipe's sample tells of its own fields, and may tell of more.
fn compare(
    block: &Block,
    made: Result<Record, RejectReason>,
    recipe: &BTreeSet<String>,
    whole: bool,
) -> Option<String> {
    let made = match (block.role.as_str(), made) {
        ("refused", Err(rejection)) => {
            let said = rejection.to_string();
            return (block.text.trim() != said).then_some(said);
        }
        ("refused", Ok(_)) => return Some("it is not refused".to_owned()),
        (_, Err(rejection)) => return Some(rejection.to_string()),
        (_, Ok(record)) => record,
    };
    let expected: BTreeMap<String, Value> = serde_json::from_str(&block.text).unwrap();
    let told = |field: &str| whole || recipe.contains(field) || expected.contains_key(field);
    let made: BTreeMap<String, Value> = made
        .fields()
        .filter(|(field, _)| told(field))
        .map(|(field, value)| (field.to_owned(), value.clone()))
        .collect();
    (made != expected).then(|| format!("it makes {}", json!(made)))
}

#[test]
fn finds_wrong_recipe() {
    let recipe = |contact: &str| {
        let text = format!(
            "# A\n```toml\n[mapping]\nTitle = \"{{{{ a }}}}\"\n```\n```json lead\n{{\"a\": \"x\", \"firstName\": \"Ada\"}}\n```\n{contact}\n"
        );
        try_out(&Page::parse("docs/MAPPING.md", &text))
    };
    assert_eq!(recipe("```json contact\n{\"Title\": \"x\"}\n```"), (1, vec![]));
    assert_eq!(
        recipe("```json contact\n{\"Title\": \"x\", \"Last_Name\": \"Ada\"}\n```"),
        (1, vec![])
    );
    for wrong in [
        "```json contact\n{\"Title\": \"y\"}\n```",
        "```json contact\n{}\n```",
        "```json contact\n{\"Title\": \"x\", \"Phone\": \"1\"}\n```",
        "```text refused\nno\n```",
        "",
    ] {
        assert_eq!(recipe(wrong).1.len(), 1, "{wrong}");
    }
}
