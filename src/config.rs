//! Settings: their sources and their formats. The only reader of the environment.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use crate::database::Database;
use crate::domain::mapping::{Mapping, MappingError};
use crate::domain::retry::RetryPolicy;

mod layers;
mod read;
mod service;

pub use layers::{Layers, environment};
pub use read::DATA_CENTERS;
pub use service::{BiginAccess, ServiceSettings};

use read::Reader;

/// The defaults, with a description of every setting.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Settings whose value is a secret. Each may be in a file that `NAME_FILE` names.
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

/// All other settings.
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

/// The settings of `serve`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The source of leads.
    pub sanity: SanitySettings,
    /// How webhooks are verified.
    pub webhook: WebhookSettings,
    /// The URL of the editors' Studio.
    pub studio_url: Option<Url>,
    /// Their target.
    pub bigin: BiginSettings,
    /// Least time between the upsert and the tag.
    pub tag_delay: Duration,
    /// The SQLite file or PostgreSQL database.
    pub database: Database,
    /// How long a worker may claim a sync.
    pub lease_duration: Duration,
    /// How long finished syncs are stored.
    pub retention: Duration,
    /// Between searches for missed webhooks; `None` is never.
    pub reconcile_interval: Option<Duration>,
    /// How long a lead must be requested before its webhook counts as missed.
    pub reconcile_min_age: Duration,
    /// When failed attempts are retried, and for how long.
    pub retry: RetryPolicy,
    /// The origin of other pages that may call the API.
    pub cors_origin: Option<Url>,
    /// How late Bigin may apply an ambiguous insert; a lead without a unique value is looked up afterwards.
    pub ambiguity_delay: Duration,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The public URL, as the proxy in front serves it.
    pub public_url: Option<Url>,
    /// For `/api` and the dashboard; without it both are off.
    pub admin_token: Option<SecretString>,
    /// Alerts and the heartbeat.
    pub alerts: AlertSettings,
    /// How long `/api/send-to-bigin` waits at most.
    pub send_wait: Duration,
    /// `true` JSON, `false` text, `None` text on a terminal.
    pub log_json: Option<bool>,
    /// Filter of log lines, as `tracing-subscriber` has it.
    pub log_filter: String,
    /// How a lead becomes a contact.
    pub mapping: Arc<Mapping>,
}

/// The source of leads.
#[derive(Debug, Clone)]
pub struct SanitySettings {
    /// The project's ID.
    pub project_id: String,
    /// Base URL of the API.
    pub api_url: Url,
    pub dataset: String,
    /// A token of the role Editor.
    pub token: SecretString,
    /// The document type of a lead.
    pub lead_type: String,
    /// Maximum size of an answer with leads, in bytes; `None` is the client's own limit. Tests set a small one.
    pub max_answer: Option<usize>,
}

/// How webhooks are verified.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The webhook's secret.
    pub secret: SecretString,
    /// The former one, while it is being replaced.
    pub secret_previous: Option<SecretString>,
    /// Older signatures are rejected.
    pub max_age: Option<Duration>,
}

/// The target of leads.
#[derive(Debug, Clone)]
pub struct BiginSettings {
    /// Base URL of the accounts server.
    pub accounts_url: Url,
    /// Base URL of the API; `None` is the one that comes with each access token.
    pub api_domain: Option<Url>,
    /// Bigin's URL in a browser.
    pub web_url: String,
    /// Of the self client.
    pub client_id: String,
    /// Of the self client; also the key under which tokens are stored.
    pub client_secret: SecretString,
    /// Lasts until it is revoked, or until the user's 21st refresh token pushes it out.
    pub refresh_token: SecretString,
    /// The tags that start the automation, by name; no name has a comma.
    pub tags: Vec<String>,
    /// A unique custom text field for the lead's id.
    pub lead_id_field: Option<String>,
    /// Most calls at once.
    pub max_concurrency: usize,
}

/// Where alerts and the heartbeat are sent.
#[derive(Debug, Clone, Default)]
pub struct AlertSettings {
    /// Gets a JSON POST for each alert. The URL of a chat's hook is a secret: it allows to write there.
    pub alert_url: Option<SecretString>,
    /// Gets a GET after each healthy reconciliation.
    pub heartbeat_url: Option<SecretString>,
    /// The organisation's API credits for 24 hours.
    pub daily_credits: Option<u64>,
}

/// A problem of a setting, or of a settings file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A required setting is not set.
    #[error("{0} is missing")]
    Missing(String),
    /// A value that cannot be used.
    #[error("{setting} {problem}")]
    Invalid {
        /// The setting, or the `NAME_FILE` of a secret.
        setting: String,
        /// A clause that follows the name.
        problem: String,
    },
    /// A file that cannot be read, or a line of it.
    #[error("{place}: {problem}")]
    File {
        /// Its path, and the line if it is known.
        place: String,
        /// A clause.
        problem: String,
    },
    /// A template.
    #[error("the mapping of {0}")]
    Mapping(#[from] MappingError),
}

impl ConfigError {
    /// An invalid value; `problem` follows the name.
    pub(crate) fn invalid(setting: &str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            setting: setting.to_owned(),
            problem: problem.into(),
        }
    }

    fn file(place: String, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::File { place, problem }
    }

    /// Whether it is about a setting, or about the file of a secret.
    pub fn is_about(&self, name: &str) -> bool {
        match self {
            Self::Missing(setting) | Self::Invalid { setting, .. } => {
                setting == name || setting.strip_suffix("_FILE") == Some(name)
            }
            Self::File { .. } | Self::Mapping(_) => false,
        }
    }
}

/// All problems in the settings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{} in the settings:{}", counted(.0.len()), .0.iter().map(|error| format!("\n  - {error}")).collect::<String>())]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// # Errors
    /// There are some.
    pub fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        errors.is_empty().then_some(()).ok_or(Self(errors))
    }
}

fn counted(errors: usize) -> String {
    match errors {
        1 => "1 problem".to_owned(),
        errors => format!("{errors} problems"),
    }
}

impl Settings {
    /// Reads the settings from their layers.
    ///
    /// # Errors
    /// [`ConfigErrors`] lists all problems at once.
    pub fn load(layers: &Layers) -> Result<Self, ConfigErrors> {
        let (settings, errors) = Self::read(layers);
        ConfigErrors::check(errors).map(|()| settings)
    }

    /// The same for diagnosis: the settings that can be read, and the problems. A setting with a problem is empty or has its
    /// default, and must not be used.
    pub fn read(layers: &Layers) -> (Self, Vec<ConfigError>) {
        let mut read = Reader::new(layers);
        let listen = read.listen();
        let public_url = read.maybe_url("PUBLIC_URL");
        let settings = Self {
            sanity: read.sanity(),
            webhook: read.webhook(),
            studio_url: read.maybe_url("SANITY_STUDIO_URL"),
            bigin: read.bigin(),
            tag_delay: read.duration("TAG_DELAY", Duration::ZERO),
            database: read.database(),
            lease_duration: read.duration("LEASE_DURATION", Duration::from_secs(3)),
            retention: read.duration("RETENTION", Duration::from_secs(1)),
            reconcile_interval: Some(read.duration("RECONCILE_INTERVAL", Duration::ZERO)).filter(|d| !d.is_zero()),
            reconcile_min_age: read.duration("RECONCILE_MIN_AGE", Duration::ZERO),
            retry: RetryPolicy {
                base_delay: read.duration("RETRY_BASE_DELAY", Duration::from_millis(1)),
                max_delay: read.duration("RETRY_MAX_DELAY", Duration::from_millis(1)),
                give_up_after: read.duration("GIVE_UP_AFTER", Duration::ZERO),
            },
            ambiguity_delay: read.duration("AMBIGUITY_DELAY", Duration::ZERO),
            admin_token: read.admin_token(&listen, public_url.as_ref()),
            listen,
            public_url,
            alerts: read.alerts(),
            send_wait: read.duration("SEND_WAIT", Duration::ZERO),
            cors_origin: read.maybe_url("CORS_ORIGIN"),
            log_json: read.log_json(),
            log_filter: read.text("RUST_LOG"),
            mapping: Arc::new(read.mapping()),
        };
        // For the commands that call a running service.
        read.maybe_url("BIGIN_SYNC_URL");
        (settings, read.errors)
    }
}

/// The settings of the log, read first so that problems of the others can be logged.
pub fn log_settings(layers: &Layers) -> (Option<bool>, String) {
    let mut read = Reader::new(layers);
    (read.log_json(), read.text("RUST_LOG"))
}

/// `500ms`, `15s`, `2m`, `24h`, `30d`; a day has 24 hours.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let seconds = span
        .total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()))
        .ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a file with a secret, without its line break. An empty file is a problem: the secret was meant to be set.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the file is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests;
