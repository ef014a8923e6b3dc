//! Valid and invalid settings.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const NEEDED: [(&str, &str); 6] = [
    ("SANITY_PROJECT_ID", "abc123"),
    ("SANITY_API_WRITE_TOKEN", "sk-test"),
    ("SANITY_WEBHOOK_SECRET", "s3cret"),
    ("BIGIN_CLIENT_ID", "1000.TEST"),
    ("BIGIN_CLIENT_SECRET", "cs"),
    ("BIGIN_REFRESH_TOKEN", "1000.rt"),
];

fn environment(extra: &[(&str, &str)]) -> BTreeMap<String, String> {
    NEEDED
        .iter()
        .chain(extra)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_in(folder: &Path, env: BTreeMap<String, String>) -> Result<Settings, ConfigErrors> {
    let file = folder.join("bigin-sync.toml");
    // A named file must exist.
    if !file.exists() {
        std::fs::write(&file, "").unwrap();
    }
    Settings::load(&Layers::read(Some(&file), None, env))
}

fn load(extra: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
    load_in(tempfile::tempdir().unwrap().path(), environment(extra))
}

fn errors(extra: &[(&str, &str)]) -> String {
    load(extra).unwrap_err().to_string()
}

#[test]
fn defaults_match_the_contract() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.sanity.api_url.as_str(), "https://abc123.api.sanity.io/");
    assert_eq!(settings.sanity.dataset, "production");
    assert_eq!(settings.sanity.lead_type, "dbrLead");
    assert_eq!(settings.bigin.accounts_url.as_str(), "https://accounts.zoho.com/");
    assert!(settings.bigin.api_domain.is_none());
    assert_eq!(settings.bigin.tags, ["DBR_Dashboard_Import"]);
    assert_eq!(settings.bigin.max_concurrency, 4);
    assert_eq!(settings.tag_delay, Duration::from_secs(15));
    assert_eq!(settings.lease_duration, Duration::from_secs(60));
    assert_eq!(settings.retention, Duration::from_secs(30 * 86_400));
    assert_eq!(settings.reconcile_interval, Some(Duration::from_secs(60)));
    assert_eq!(settings.retry.give_up_after, Duration::from_secs(86_400));
    assert_eq!(settings.ambiguity_delay, Duration::from_secs(120));
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.database.to_string(), "bigin-sync.db");
    assert!(settings.admin_token.is_none());
}

#[test]
fn lists_all_problems_at_once() {
    let env = [
        ("BIGIN_DATA_CENTER", "mars"),
        ("TAG_DELAY", "soon"),
        ("LEASE_DURATION", "1s"),
        ("TIME_ZONE", "Europe/Atlantis"),
        ("BIGIN_MAX_CONCURRENCY", "0"),
        ("LISTEN_ADDR", "everywhere"),
        ("LOG_FORMAT", "xml"),
        ("SANITY_API_URL", "ftp://example.org"),
        ("DATABASE_URL", "mysql://root:hunter2@example.org/db"),
        ("BIGIN_TAGS", "a-tag-of-more-than-25-letters"),
        ("SANITY_LEAD_TYPE", "dbr lead\""),
    ];
    let env: BTreeMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let message = load_in(tempfile::tempdir().unwrap().path(), env.clone())
        .unwrap_err()
        .to_string();
    let missing = NEEDED.iter().map(|(name, _)| *name);
    for name in missing.chain(env.keys().map(String::as_str)) {
        assert!(message.contains(name), "{name} is not in: {message}");
    }
    assert!(message.starts_with("17 problems in the settings:\n"), "{message}");
    assert!(!message.contains("hunter2"));
}

#[test]
fn environment_overrides_dotenv_and_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bigin-sync.toml"),
        "sanity_dataset = \"file\"\ntag_delay = \"1s\"\nsend_wait = \"1s\"\nbigin_tags = [\"a\", \"b\"]\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "SANITY_DATASET=dotenv\nTAG_DELAY=2s\nOTHER=x\n",
    )
    .unwrap();
    let settings = load_in(
        folder.path(),
        environment(&[("SANITY_DATASET", "env"), ("SEND_WAIT", "")]),
    )
    .unwrap();
    assert_eq!(settings.sanity.dataset, "env");
    assert_eq!(settings.tag_delay, Duration::from_secs(2));
    assert_eq!(settings.send_wait, Duration::from_secs(1), "an empty value is not set");
    assert_eq!(settings.bigin.tags, ["a", "b"]);
}

#[test]
fn unknown_key_is_a_problem_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bigin-sync.toml"),
        "tag_dealy = \"1s\"\nTAG_DELAY = \"1s\"\n",
    )
    .unwrap();
    let message = load_in(folder.path(), environment(&[])).unwrap_err().to_string();
    assert!(
        message.contains(", line 1: unknown setting \"tag_dealy\". Did you mean tag_delay?")
            && message.contains(", line 2: unknown setting \"TAG_DELAY\". Did you mean tag_delay?"),
        "{message}"
    );
}

#[test]
fn broken_file_is_reported_by_line_without_its_text() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bigin-sync.toml"), "\nadmin_token = hunter2\n").unwrap();
    std::fs::write(folder.path().join(".env"), "ADMIN_TOKEN='hunter2\n").unwrap();
    let message = load_in(folder.path(), environment(&[])).unwrap_err().to_string();
    assert!(
        message.contains("bigin-sync.toml, line 2: invalid TOML") && message.contains("not a NAME=value line"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn secret_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "from-file\n").unwrap();
    let mut env = environment(&[("BIGIN_REFRESH_TOKEN_FILE", path.to_str().unwrap())]);
    let both = load_in(folder.path(), env.clone()).unwrap_err().to_string();
    assert!(
        both.contains("BIGIN_REFRESH_TOKEN and BIGIN_REFRESH_TOKEN_FILE are both set"),
        "{both}"
    );
    env.remove("BIGIN_REFRESH_TOKEN");
    let settings = load_in(folder.path(), env.clone()).unwrap();
    assert_eq!(settings.bigin.refresh_token.expose_secret(), "from-file");
    std::fs::remove_file(&path).unwrap();
    assert!(
        load_in(folder.path(), env)
            .unwrap_err()
            .to_string()
            .contains("BIGIN_REFRESH_TOKEN_FILE")
    );
}

#[test]
fn port_listens_on_all_interfaces() {
    assert_eq!(load(&[("PORT", "9000")]).unwrap().listen.to_string(), "0.0.0.0:9000");
    let both = load(&[("PORT", "9000"), ("LISTEN_ADDR", "127.0.0.1:1")]).unwrap();
    assert_eq!(both.listen.to_string(), "127.0.0.1:1");
}

#[test]
fn short_admin_token_is_for_this_machine_only() {
    assert!(load(&[("ADMIN_TOKEN", "short")]).is_ok());
    assert!(errors(&[("ADMIN_TOKEN", "short"), ("PORT", "9000")]).contains("ADMIN_TOKEN is shorter than 32"));
}

#[test]
fn alert_url_is_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hook");
    std::fs::write(&path, "https://hooks.example.org/hush-hush\n").unwrap();
    let env = [
        ("ALERT_URL_FILE", path.to_str().unwrap()),
        ("HEARTBEAT_URL", "https://hc.example.org/hush-hush?a=b"),
        ("PUBLIC_URL", "https://crm.example.org"),
        ("BIGIN_DAILY_CREDITS", "5000"),
    ];
    let settings = load(&env).unwrap();
    let alerts = &settings.alerts;
    let url = alerts.alert_url.as_ref().map(ExposeSecret::expose_secret);
    assert_eq!(url, Some("https://hooks.example.org/hush-hush"));
    assert!(alerts.heartbeat_url.is_some());
    assert_eq!(alerts.daily_credits, Some(5_000));
    assert_eq!(
        settings.public_url.as_ref().map(Url::as_str),
        Some("https://crm.example.org/")
    );
    assert!(!format!("{settings:?}").contains("hush-hush"));

    let none = load(&[]).unwrap().alerts;
    assert!(none.alert_url.is_none() && none.heartbeat_url.is_none() && none.daily_credits.is_none());
    for number in ["0", "-1", "many", "5,000"] {
        assert!(errors(&[("BIGIN_DAILY_CREDITS", number)]).contains("BIGIN_DAILY_CREDITS is"));
    }
}

#[test]
fn parses_durations() {
    let cases = [
        ("500ms", 500),
        ("15s", 15_000),
        ("2m", 120_000),
        ("24h", 86_400_000),
        ("30d", 2_592_000_000),
        ("0s", 0),
    ];
    for (text, millis) in cases {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "15", "-1s", "soon", "1 month"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn mapping_of_the_file_overrides_the_default() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bigin-sync.toml"),
        "[mapping]\nTitle = \"{{ jobTitle }}\"\nPhone = \"\"\n",
    )
    .unwrap();
    let file = folder.path().join("bigin-sync.toml");
    let mapping = Layers::read(Some(&file), None, environment(&[])).mapping();
    assert_eq!(mapping.get("Title").map(String::as_str), Some("{{ jobTitle }}"));
    assert!(mapping.contains_key("Last_Name") && !mapping.contains_key("Phone"));
}

#[test]
fn errors_name_their_setting() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "BIGIN_CLIENT_SECRET=a$b\n").unwrap();
    std::fs::write(
        folder.path().join("bigin-sync.toml"),
        "[mapping]\nEmail = \"{{ emailAddress\"\n",
    )
    .unwrap();
    let mut env = environment(&[
        ("PHONE_REGION", "UK"),
        ("TAG_DELAY", "soon"),
        ("SANITY_WEBHOOK_SECRET", ""),
        ("SANITY_WEBHOOK_SECRET_FILE", "/nowhere"),
    ]);
    env.remove("SANITY_PROJECT_ID");
    env.remove("BIGIN_CLIENT_SECRET");
    let ConfigErrors(errors) = load_in(folder.path(), env).unwrap_err();
    let about = |name: &str| errors.iter().filter(|error| error.is_about(name)).count();
    let named = [
        "PHONE_REGION",
        "TAG_DELAY",
        "SANITY_WEBHOOK_SECRET",
        "SANITY_PROJECT_ID",
        "BIGIN_CLIENT_SECRET",
    ];
    assert_eq!(named.map(about), [1; 5], "{errors:?}");
    assert!(errors.contains(&ConfigError::Missing("SANITY_PROJECT_ID".to_owned())));
    let of_mapping = |error: &&ConfigError| matches!(error, ConfigError::Mapping(error) if error.field == "Email");
    assert_eq!(errors.iter().filter(of_mapping).count(), 1);
    assert_eq!(errors.len(), 6, "{errors:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parses_seconds_and_never_panics(
        seconds in 0..10_000_000u64, text in "[-+0-9. dhmsu]{0,14}|P[0-9DTHMSY.-]{0,12}|.{0,12}",
    ) {
        prop_assert_eq!(parse_duration(&format!("{seconds}s")), Some(Duration::from_secs(seconds)));
        let _ = parse_duration(&text);
    }
}
