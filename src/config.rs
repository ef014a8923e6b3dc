//! Settings: where they come from, and what each must look like. The only reader of the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Url;
use secrecy::SecretString;

use crate::database::Database;

mod layers;
mod read;
mod service;

pub use layers::{Layers, environment};
pub use read::data_centers;
pub use service::{BiginAccess, SanityAccess, ServiceSettings};

use read::Reader;

/// The defaults, which are also their documentation.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Names of the settings whose value is a secret, each of which may be given as `NAME_FILE`.
pub(crate) const SECRETS: [&str; 9] = [
    "SANITY_API_WRITE_TOKEN",
    "SANITY_WEBHOOK_SECRET",
    "SANITY_WEBHOOK_SECRET_PREVIOUS",
    "BIGIN_CLIENT_SECRET",
    "BIGIN_REFRESH_TOKEN",
    "ADMIN_TOKEN",
    "DATABASE_URL",
    "ALERT_URL",
    "HEARTBEAT_URL",
];

/// Names of all other settings.
pub(crate) const PLAIN: [&str; 32] = [
    "SANITY_PROJECT_ID",
    "SANITY_DATASET",
    "SANITY_WEBHOOK_MAX_AGE",
    "SANITY_API_URL",
    "SANITY_LEAD_TYPE",
    "SANITY_STUDIO_URL",
    "BIGIN_CLIENT_ID",
    "BIGIN_DATA_CENTER",
    "BIGIN_ACCOUNTS_URL",
    "BIGIN_API_DOMAIN",
    "BIGIN_TAGS",
    "BIGIN_LEAD_ID_FIELD",
    "BIGIN_MAX_CONCURRENCY",
    "BIGIN_DAILY_CREDITS",
    "TAG_DELAY",
    "TIME_ZONE",
    "PHONE_REGION",
    "LEASE_DURATION",
    "RETENTION",
    "RECONCILE_INTERVAL",
    "RECONCILE_MIN_AGE",
    "RETRY_BASE_DELAY",
    "RETRY_MAX_DELAY",
    "GIVE_UP_AFTER",
    "AMBIGUITY_DELAY",
    "LISTEN_ADDR",
    "PUBLIC_URL",
    "SEND_WAIT",
    "CORS_ORIGIN",
    "LOG_FORMAT",
    "RUST_LOG",
    "BIGIN_SYNC_URL",
];

/// The names of all settings.
pub fn names() -> impl Iterator<Item = &'static str> {
    PLAIN.into_iter().chain(SECRETS)
}

/// Whether the value of a setting is a secret.
pub fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name)
}

/// Everything `serve` needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the leads live.
    pub sanity: SanitySettings,
    /// Where they go.
    pub bigin: BiginSettings,
    /// Between the upsert and the tag.
    pub tag_delay: Duration,
    /// Of times in Description.
    pub time_zone: TimeZone,
    /// Two letters; of phone numbers without a country code.
    pub phone_region: String,
    /// The SQLite file.
    pub database: Database,
    /// How long a worker may hold a lead.
    pub lease_duration: Duration,
    /// How long finished syncs and deliveries are kept.
    pub retention: Duration,
    /// How often to look for lost webhooks; `None` is never.
    pub reconcile_interval: Option<Duration>,
    /// How long a lead must have waited before its webhook counts as lost.
    pub reconcile_min_age: Duration,
    /// First wait after a failure.
    pub retry_base_delay: Duration,
    /// The origin of pages elsewhere that may call the API.
    pub cors_origin: Option<Url>,
    /// Longest wait after a failure.
    pub retry_max_delay: Duration,
    /// When a lead's own failures end it.
    pub give_up_after: Duration,
    /// How late Bigin may apply an insert that ended ambiguously; a lead without a unique value is looked up after that.
    pub ambiguity_delay: Duration,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where people find the pages, as the proxy in front serves them.
    pub public_url: Option<Url>,
    /// For `/api` and the pages; without it both are off.
    pub admin_token: Option<SecretString>,
    /// Who is told that something needs a person.
    pub alerts: AlertSettings,
    /// Longest wait of `/api/send-to-bigin`.
    pub send_wait: Duration,
    /// `true` JSON, `false` text, `None` text on a terminal.
    pub log_json: Option<bool>,
    /// Filter of log lines, as `tracing-subscriber` has it.
    pub log_filter: String,
    /// Bigin field → template.
    pub mapping: BTreeMap<String, String>,
}

/// Where the leads live.
#[derive(Debug, Clone)]
pub struct SanitySettings {
    /// The project's id.
    pub project_id: String,
    /// Base address of the API.
    pub api_url: Url,
    /// The dataset.
    pub dataset: String,
    /// Robot token, Editor.
    pub token: SecretString,
    /// The webhook's secret.
    pub webhook_secret: SecretString,
    /// The one before, while it is being changed.
    pub webhook_secret_previous: Option<SecretString>,
    /// Older signatures are refused.
    pub webhook_max_age: Option<Duration>,
    /// The document type.
    pub lead_type: String,
    /// The Studio in which editors see the leads.
    pub studio_url: Option<Url>,
    /// Maximum size of an answer with leads, in bytes, where it is not the client's own: tests make it small.
    pub max_answer: Option<usize>,
}

/// Where they go.
#[derive(Debug, Clone)]
pub struct BiginSettings {
    /// Base address of the accounts server.
    pub accounts_url: Url,
    /// Where the API is unless the token's answer says otherwise.
    pub api_domain: Url,
    /// The API domain was set on purpose, and wins over the token's answer.
    pub api_domain_is_set: bool,
    /// Where people use Bigin in a browser.
    pub web_url: String,
    /// Of the self client.
    pub client_id: String,
    /// Of the self client.
    pub client_secret: SecretString,
    /// Of the organisation.
    pub refresh_token: SecretString,
    /// What the automation waits for.
    pub tags: Vec<String>,
    /// A unique custom text field for the lead's id.
    pub lead_id_field: Option<String>,
    /// Calls at once.
    pub max_concurrency: usize,
}

/// Who is told that something needs a person, or that all is well.
#[derive(Debug, Clone, Default)]
pub struct AlertSettings {
    /// Gets one JSON POST for each message. A chat's hook is a secret: whoever knows it can write there.
    pub alert_url: Option<SecretString>,
    /// Gets a GET after each healthy reconciliation.
    pub heartbeat_url: Option<SecretString>,
    /// How many API credits the organisation has in 24 hours.
    pub daily_credits: Option<u64>,
}

/// Everything that is wrong with the settings, one sentence each.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the settings have {} {}:\n{}", .0.len(), if .0.len() == 1 { "fault" } else { "faults" }, listed(.0))]
pub struct Faults(pub Vec<String>);

fn listed(faults: &[String]) -> String {
    faults
        .iter()
        .map(|fault| format!("  - {fault}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl Settings {
    /// Reads the settings from their layers. `check_rest` lists what is wrong with the templates, and with whatever else the
    /// caller has read.
    ///
    /// # Errors
    /// [`Faults`] lists all of them, so that one start is enough to mend them.
    pub fn load(
        layers: &Layers,
        check_rest: impl FnOnce(&BTreeMap<String, String>, &TimeZone, &str) -> Vec<String>,
    ) -> Result<Self, Faults> {
        let (settings, faults) = Self::read(layers, check_rest);
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(Faults(faults))
        }
    }

    /// The same for who looks into what is wrong: the settings as far as they can be read, and their faults. What has a
    /// fault is empty or its default, and must not be used.
    pub fn read(
        layers: &Layers,
        check_rest: impl FnOnce(&BTreeMap<String, String>, &TimeZone, &str) -> Vec<String>,
    ) -> (Self, Vec<String>) {
        let mut read = Reader {
            layers,
            faults: layers.faults().to_vec(),
        };
        let sanity = read.sanity();
        let bigin = read.bigin();
        let listen = read.listen();
        let public_url = read.maybe_url("PUBLIC_URL");
        let settings = Self {
            sanity,
            bigin,
            tag_delay: read.duration("TAG_DELAY", Duration::ZERO),
            time_zone: read.time_zone(),
            phone_region: read.text("PHONE_REGION"),
            database: read.database(),
            lease_duration: read.duration("LEASE_DURATION", Duration::from_secs(3)),
            retention: read.duration("RETENTION", Duration::from_secs(1)),
            reconcile_interval: Some(read.duration("RECONCILE_INTERVAL", Duration::ZERO)).filter(|d| !d.is_zero()),
            reconcile_min_age: read.duration("RECONCILE_MIN_AGE", Duration::ZERO),
            retry_base_delay: read.duration("RETRY_BASE_DELAY", Duration::from_millis(1)),
            retry_max_delay: read.duration("RETRY_MAX_DELAY", Duration::from_millis(1)),
            give_up_after: read.duration("GIVE_UP_AFTER", Duration::ZERO),
            ambiguity_delay: read.duration("AMBIGUITY_DELAY", Duration::ZERO),
            admin_token: read.admin_token(&listen, public_url.as_ref()),
            listen,
            public_url,
            alerts: read.alerts(),
            send_wait: read.duration("SEND_WAIT", Duration::ZERO),
            cors_origin: read.maybe_url("CORS_ORIGIN"),
            log_json: read.log_json(),
            log_filter: read.text("RUST_LOG"),
            mapping: layers.mapping(),
        };
        // For the commands that talk to a running service.
        read.maybe_url("BIGIN_SYNC_URL");
        read.faults.extend(check_rest(
            &settings.mapping,
            &settings.time_zone,
            &settings.phone_region,
        ));
        (settings, read.faults)
    }
}

/// How logs are to look, read before anything else so that faults can be logged too.
pub fn log_settings(layers: &Layers) -> (Option<bool>, String) {
    let mut read = Reader {
        layers,
        faults: Vec::new(),
    };
    (read.log_json(), read.text("RUST_LOG"))
}

/// `500ms`, `15s`, `2m`, `24h`, `30d`; a day has 24 hours here.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let seconds = span
        .total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()))
        .ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a file of settings' secrets: one line, whose line break does not count. An empty one is a fault: somebody meant
/// to give a secret, and an empty one is either no protection or an unset setting in disguise.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the file is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests;
