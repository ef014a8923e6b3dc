//! What becomes of leads under the default mapping and under others, and what is wrong with mappings.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::domain::record::Field;

const DEFAULTS: &str = include_str!("../../../config/default.toml");

fn default_templates() -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct Defaults {
        mapping: BTreeMap<String, String>,
    }
    toml::from_str::<Defaults>(DEFAULTS).unwrap().mapping
}

fn valid(templates: BTreeMap<String, String>) -> Mapping {
    let (mapping, errors) = Mapping::new(&templates, TimeZone::get("Europe/London").unwrap(), "GB");
    assert_eq!(errors, []);
    mapping
}

pub(super) fn default_mapping() -> Mapping {
    valid(default_templates())
}

/// A mapping of the name and of what the test is about.
pub(super) fn mapping(templates: &[(&str, &str)]) -> Mapping {
    valid(named(templates))
}

fn named(templates: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = [("Last_Name", "{{ secondName }}")].iter().chain(templates);
    all.map(|(field, template)| ((*field).to_owned(), (*template).to_owned()))
        .collect()
}

pub(super) fn lead(document: Json) -> Document {
    let Json::Object(document) = document else {
        panic!("not a document: {document}")
    };
    document
}

pub(super) fn ada() -> Json {
    json!({
        "_id": "lead-ada", "_type": "dbrLead",
        "firstName": "Ada", "secondName": " Søn-O'Brien & Co ", "emailAddress": "Ada@Example.org",
        "phoneNumber": "07700 900123", "address": "1 Solar Street", "city": "Fareham", "postcode": "PO16 7XX",
        "contactStatus": "HOT",
        "conversationHistory": [{"timestamp": "2025-07-27T14:03:22Z", "from": "ai", "message": "Good afternoon"}],
    })
}

/// Organisation fields: name, type, length, read-only.
pub(super) fn org(fields: &[(&str, &str, Option<usize>, bool)]) -> OrgFields {
    let field = |(name, data_type, length, read_only): &(&str, &str, Option<usize>, bool)| {
        let field = Field {
            label: (*name).to_owned(),
            data_type: (*data_type).to_owned(),
            length: *length,
            unique: false,
            read_only: *read_only,
        };
        ((*name).to_owned(), field)
    };
    OrgFields(fields.iter().map(field).collect())
}

pub(super) fn shown(record: &Record) -> String {
    record
        .fields()
        .map(|(name, value)| format!("{name} = {value}\n"))
        .collect()
}

/// The value of one field under a mapping of just that field.
fn one(template: &str, document: Json) -> Option<String> {
    let mut document = document;
    document["secondName"] = json!("Example");
    let record = mapping(&[("Title", template)]).render(lead(document), None).unwrap();
    record.text("Title").map(str::to_owned)
}

#[test]
fn the_default_mapping_carries_a_whole_lead() {
    let record = default_mapping().render(lead(ada()), None).unwrap();
    insta::assert_snapshot!(shown(&record), @r#"
    Description = "[27/07/2025, 15:03:22] AI: Good afternoon"
    Email = "Ada@Example.org"
    First_Name = "Ada"
    Last_Name = "Søn-O'Brien & Co"
    Lead_Source = "DBR Dashboard"
    Lead_Status = "HOT"
    Mailing_City = "Fareham"
    Mailing_Street = "1 Solar Street"
    Mailing_Zip = "PO16 7XX"
    Phone = "+447700900123"
    "#);
}

#[test]
fn what_a_lead_lacks_is_not_sent() {
    let sparse = json!({
        "firstName": "Ada", "secondName": "  ", "emailAddress": null, "phoneNumber": "", "conversationHistory": [],
    });
    let record = default_mapping().render(lead(sparse), None).unwrap();
    insta::assert_snapshot!(shown(&record), @r#"
    First_Name = "Ada"
    Last_Name = "Ada"
    Lead_Source = "DBR Dashboard"
    "#);
}

#[test]
fn a_lead_without_a_name_is_rejected() {
    for document in [
        json!({}),
        json!({"firstName": " ", "secondName": null, "emailAddress": "ada@example.org"}),
    ] {
        let rejection = default_mapping().render(lead(document), None).unwrap_err();
        assert_eq!(
            rejection.to_string(),
            "The lead has no name: fill in the first or last name"
        );
    }
}

#[test]
fn templates_compute_leniently() {
    let rows = [
        ("undefined", "{{ nothing }}", json!({}), None),
        ("nested undefined", "{{ nothing.at.all[3] }}", json!({}), None),
        ("null", "{{ a }}", json!({"a": null}), None),
        ("null joined", "{{ a ~ 'x' }}", json!({"a": null}), Some("x")),
        ("nested null", "{{ a.b }}", json!({"a": {"b": null}}), None),
        ("none", "{{ none }}", json!({}), None),
        (
            "the whole lead",
            "{{ lead.a }}-{{ lead['b'] }}",
            json!({"a": 1, "b": 2}),
            Some("1-2"),
        ),
        (
            "no escaping",
            "{{ a }}",
            json!({"a": "<O'Brien & Søn>"}),
            Some("<O'Brien & Søn>"),
        ),
        ("trimmed", " \n{{ a }} ", json!({"a": " x "}), Some("x")),
        ("only blanks", "{{ a }} \n", json!({"a": "\t"}), None),
        ("number", "{{ a }}", json!({"a": 1.5}), Some("1.5")),
        (
            "large number",
            "{{ a }}",
            json!({"a": u64::MAX}),
            Some("18446744073709551615"),
        ),
        ("list", "{{ a|join(', ') }}", json!({"a": ["x", "y"]}), Some("x, y")),
        (
            "condition",
            "{% if a %}yes{% else %}no{% endif %}",
            json!({"a": true}),
            Some("yes"),
        ),
        (
            "date",
            "{{ a|date }}",
            json!({"a": "2025-07-27T23:30:00Z"}),
            Some("28/07/2025"),
        ),
        (
            "date with format",
            "{{ a|date('%d %B %Y, %H:%M') }}",
            json!({"a": 1_753_610_400_000_i64}),
            Some("27 July 2025, 11:00"),
        ),
        (
            "date alone",
            "{{ a|date }}",
            json!({"a": "2025-07-27"}),
            Some("27/07/2025"),
        ),
        ("no date", "{{ a|date }}", json!({"a": "soon"}), Some("soon")),
        ("missing date", "{{ a|date }}", json!({}), None),
        (
            "phone number",
            "{{ a|e164 }}",
            json!({"a": "07700 900 123"}),
            Some("+447700900123"),
        ),
        (
            "phone number as a number",
            "{{ a|e164 }}",
            json!({"a": 447_700_900_123_i64}),
            Some("+447700900123"),
        ),
        (
            "phone of elsewhere",
            "{{ a|e164('US') }}",
            json!({"a": "(202) 555-0123"}),
            Some("+12025550123"),
        ),
        (
            "no phone number",
            "{{ a|e164 }}",
            json!({"a": " ask Bob "}),
            Some("ask Bob"),
        ),
        ("missing phone number", "{{ a|e164 }}", json!({}), None),
        ("missing conversation", "{{ a|conversation }}", json!({}), None),
        (
            "conversation",
            "{{ a|conversation }}",
            json!({"a": [{"message": null}, {"message": "Hi"}]}),
            Some("Lead: Hi"),
        ),
        (
            "short conversation",
            "{% set conversation_limit = 3 %}{{ a|conversation }}",
            json!({"a": "abcdef"}),
            Some("def"),
        ),
    ];
    for (label, template, document, expected) in rows {
        assert_eq!(one(template, document).as_deref(), expected, "{label}");
    }
}

#[test]
fn every_fault_of_a_mapping_is_named() {
    let templates = [
        ("Email", "{{ emailAddress "),
        ("Phone", "{% if rare %}{{ phoneNumber|e146|uper }}{% endif %}"),
        ("Title", "{{ now() }} {{ a is funny }} {{ a.upper() }}"),
        ("Mobile", "{{ a|e164('Britain') }}"),
        ("Home_Phone", "{{ a|date('%!') }}"),
        ("Mailing_City", "{{ city|trim(1, 2, 3) }}"),
        (
            "Mailing_Zip",
            "{% for i in range(9999) %}{% for j in range(9999) %}{{ j }}{% endfor %}{% endfor %}",
        ),
        ("Mailing_State", "{% include 'other' %}"),
        ("2nd-Name", "{{ secondName }}"),
        ("Description", "{{ fine }}"),
    ];
    let templates = templates
        .iter()
        .map(|(field, template)| ((*field).to_owned(), (*template).to_owned()))
        .collect();
    let (_, errors) = Mapping::new(&templates, TimeZone::UTC, "GB");
    let listed: Vec<_> = errors.iter().map(MappingError::to_string).collect();
    insta::assert_snapshot!(listed.join("\n"), @r#"
    Last_Name: not mapped, and Bigin takes no contact without it
    2nd-Name: not the API name of a field: a letter, then letters, digits and '_'
    Email: syntax error: unexpected end of input, expected end of variable block (line 1)
    Home_Phone: invalid operation: date takes a strftime format, like "%d/%m/%Y" (line 1)
    Mailing_City: too many arguments (line 1)
    Mailing_State: syntax error: unknown statement include (line 1)
    Mailing_Zip: engine ran out of fuel (line 1)
    Mobile: invalid operation: e164 takes the two letters of a region, like "GB" (line 1)
    Phone: there is no filter "e146"
    Phone: there is no filter "uper"
    Title: there is no function "now"
    Title: there is no test "funny"
    Title: there is no method "upper"
    "#);
}

#[test]
fn a_template_may_use_the_tests_and_methods_there_are() {
    let template = "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% if loop.changed(x) %}!{% endif %}{% endfor %}{% if y is defined %}y{% endif %}";
    let record = mapping(&[("Title", template)]).render(lead(json!({"secondName": "Example", "xs": [1, 1, 2]})), None);
    assert_eq!(record.unwrap().text("Title"), Some("a!ba!"));
}

#[test]
fn a_template_that_fails_on_a_lead_says_so_without_its_values() {
    let rows = [
        ("{{ a + 1 }}", json!({"a": "secret"})),
        ("{{ a|int }}", json!({"a": "secret"})),
        ("{{ 'x'|e164(a) }}", json!({"a": "secret"})),
        ("{{ 1|date(a) }}", json!({"a": "secret%!"})),
        ("{{ a|map(a)|list }}", json!({"a": ["secret"]})),
        (
            "{% for i in range(a) %}{{ lead }}{% endfor %}",
            json!({"a": 99_999, "secret": "x".repeat(9_999)}),
        ),
    ];
    let mut sentences = Vec::new();
    for (template, document) in rows {
        let mut document = document;
        document["secondName"] = json!("Example");
        let rejection = mapping(&[("Email", template)])
            .render(lead(document), None)
            .unwrap_err()
            .to_string();
        assert!(!rejection.contains("secret"), "{rejection}");
        sentences.push(rejection);
    }
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    The mapping of Email failed on this lead: invalid operation in line 1 of its template
    The mapping of Email failed on this lead: invalid operation in line 1 of its template
    The mapping of Email failed on this lead: e164 takes the two letters of a region, like "GB"
    The mapping of Email failed on this lead: date takes a strftime format, like "%d/%m/%Y"
    The mapping of Email failed on this lead: invalid operation in line 1 of its template
    The mapping of Email failed on this lead: its template takes too many steps
    "#);
}

#[test]
fn the_name_of_a_field_begins_with_a_letter_and_goes_on_in_letters_digits_and_underlines() {
    for good in ["A", "Last_Name", "a1_"] {
        assert!(is_api_name(good), "{good}");
    }
    for bad in ["", "1a", "_a", "A b", "A-b", "Ä"] {
        assert!(!is_api_name(bad), "{bad:?}");
    }
}

#[test]
fn a_mapping_knows_its_fields_and_its_region() {
    let mapping = mapping(&[("Email", "{{ e }}")]);
    assert_eq!(mapping.fields().collect::<Vec<_>>(), ["Email", "Last_Name"]);
    assert_eq!(mapping.phone_region(), "GB");
}

#[test]
fn a_mapping_in_a_log_names_its_fields() {
    let shown = format!("{:?}", mapping(&[("Email", "{{ e }}")]));
    assert!(shown.contains("Email") && !shown.contains("{{"), "{shown}");
}

#[test]
fn two_spellings_are_one_number() {
    let rows = [
        ("{{ p }}", "07700 900123", Some("+447700900123"), false),
        ("{{ p }}", "+44 7700 900123", Some("+447700900123"), false),
        ("{{ p }}", "ask Bob", None, false),
        ("{{ p|e164 }}", "07700 900123", Some("+447700900123"), true),
        (" {{ q|e164 or p|e164 }} ", "07700 900123", Some("+447700900123"), true),
        ("{{ p|e164 }}", "ask Bob", None, false),
        ("{{ p|e164 }} ext. 5", "07700 900123", None, false),
        ("0{{ p|e164 }}", "07700 900123", None, false),
        (
            "{{ p|e164|replace('+44', '0') }}",
            "07700 900123",
            Some("+447700900123"),
            false,
        ),
        ("{{ p|e164('US') }}", "(202) 555-0123", Some("+12025550123"), false),
    ];
    for (template, number, expected, is_known) in rows {
        let mapping = mapping(&[("Phone", template)]);
        let document = json!({"secondName": "Example", "p": number});
        let record = mapping.render(lead(document), None).unwrap();
        assert_eq!(
            canonical_phone(&record, "GB").as_deref(),
            expected,
            "{template}, {number}"
        );
        assert_eq!(record.canonical_phone().is_some(), is_known, "{template}, {number}");
    }
}

#[test]
fn another_phone_is_parsed_again() {
    let mapping = mapping(&[("Phone", "{{ p|e164 }}")]);
    let document = json!({"secondName": "Example", "p": "07700 900123"});
    let mut record = mapping.render(lead(document), None).unwrap();
    record.set(PHONE, json!("07700 900124"));
    assert_eq!(canonical_phone(&record, "GB").as_deref(), Some("+447700900124"));
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        "[0-9+ ]{0,14}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("timestamp|from|message|lead|[a-z]", inner, 0..4)
                .prop_map(|parts| Json::Object(Map::from_iter(parts))),
        ]
    })
}

fn any_document() -> impl Strategy<Value = Json> {
    let keys = "firstName|secondName|emailAddress|phoneNumber|address|conversationHistory|contactStatus|lead|[a-z]";
    prop::collection::btree_map(keys, any_json(), 0..9).prop_map(|parts| Json::Object(Map::from_iter(parts)))
}

/// A share of the cases that are asked for: each takes long.
fn config(share: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: asked.cases / share,
        failure_persistence: None,
        ..asked
    }
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn any_lead_makes_the_same_record_twice_and_never_a_blank(document in any_document(), gated: bool) {
        thread_local!(static MAPPING: Mapping = default_mapping());
        let fields = org(&[("Last_Name", "text", None, false), ("Description", "textarea", Some(200), false)]);
        let fields = gated.then_some(&fields);
        let lead = lead(document);
        let (first, second) = MAPPING.with(|mapping| (mapping.render(lead.clone(), fields), mapping.render(lead, fields)));
        prop_assert_eq!(&first, &second);
        if let Ok(record) = first {
            prop_assert!(record.text("Last_Name").is_some());
            for (name, value) in record.fields() {
                let blank = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
                prop_assert!(!blank, "{} is blank", name);
            }
            prop_assert!(length(record.text("Description").unwrap_or_default()) <= 32_000);
        }
    }
}

proptest! {
    #![proptest_config(config(16))]

    #[test]
    fn no_lead_is_too_large_and_none_too_deep(
        sizes in prop::collection::vec(0..40_000usize, 6), messages in 0..200usize, depth in 1..100usize, gated: bool,
    ) {
        thread_local!(static MAPPING: Mapping = default_mapping());
        let text = |size: usize| json!("Zoë ☃ 🎉".chars().cycle().take(size).collect::<String>());
        let deep = (0..depth).fold(json!("deep"), |inner, _| json!([{ "message": inner }]));
        let message = json!({"from": "ai", "timestamp": deep, "message": text(sizes[0] / 100)});
        let document = json!({
            "firstName": "Ada", "secondName": text(sizes[1]), "address": text(sizes[2]), "city": text(sizes[3]),
            "contactStatus": text(sizes[4]), "postcode": deep,
            "conversationHistory": if messages == 0 { text(sizes[5]) } else { json!(vec![message; messages]) },
        });
        let fields = org(&[("Last_Name", "text", Some(80), false), ("Description", "textarea", Some(32_000), false)]);
        let record = MAPPING.with(|mapping| mapping.render(lead(document), gated.then_some(&fields)));
        match record {
            Ok(record) => prop_assert!(length(record.text("Description").unwrap_or_default()) <= 32_000),
            Err(rejection) => {
                let is_told = rejection.to_string().contains(", and Description is full, ");
                prop_assert!(gated && is_told, "{}", rejection);
            }
        }
    }
}
