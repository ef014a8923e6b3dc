//! Settings: where they come from, and what each must look like. The only reader of the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Url;
use secrecy::SecretString;

mod layers;

pub use layers::{Layers, environment};

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
pub(crate) const PLAIN: [&str; 30] = [
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
    "LISTEN_ADDR",
    "PUBLIC_URL",
    "SEND_WAIT",
    "CORS_ORIGIN",
    "LOG_FORMAT",
    "RUST_LOG",
    "BIGIN_SYNC_URL",
];

/// Zoho's data centres for Bigin: name, accounts server, API domain (official docs, multi-dc).
const DATA_CENTERS: [(&str, &str, &str); 8] = [
    ("us", "https://accounts.zoho.com", "https://www.zohoapis.com"),
    ("eu", "https://accounts.zoho.eu", "https://www.zohoapis.eu"),
    ("in", "https://accounts.zoho.in", "https://www.zohoapis.in"),
    ("au", "https://accounts.zoho.com.au", "https://www.zohoapis.com.au"),
    ("cn", "https://accounts.zoho.com.cn", "https://www.zohoapis.com.cn"),
    ("jp", "https://accounts.zoho.jp", "https://www.zohoapis.jp"),
    ("sa", "https://accounts.zoho.sa", "https://www.zohoapis.sa"),
    ("ca", "https://accounts.zohocloud.ca", "https://www.zohoapis.ca"),
];

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
    pub database: PathBuf,
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
    /// Longest wait after a failure.
    pub retry_max_delay: Duration,
    /// When a lead's own failures end it.
    pub give_up_after: Duration,
    /// Where to listen.
    pub listen: SocketAddr,
    /// For `/api`; without it `/api` is off.
    pub admin_token: Option<SecretString>,
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
    /// Reads the settings from their layers. `check_mapping` lists what is wrong with the templates.
    ///
    /// # Errors
    /// [`Faults`] lists all of them, so that one start is enough to mend them.
    pub fn load(
        layers: &Layers,
        check_mapping: impl FnOnce(&BTreeMap<String, String>, &TimeZone, &str) -> Vec<String>,
    ) -> Result<Self, Faults> {
        let mut read = Reader {
            layers,
            faults: layers.faults().to_vec(),
        };
        let sanity = read.sanity();
        let bigin = read.bigin();
        let listen = read.listen();
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
            admin_token: read.admin_token(&listen),
            listen,
            send_wait: read.duration("SEND_WAIT", Duration::ZERO),
            log_json: read.log_json(),
            log_filter: read.text("RUST_LOG"),
            mapping: layers.mapping(),
        };
        for name in ["PUBLIC_URL", "CORS_ORIGIN", "SANITY_STUDIO_URL", "BIGIN_SYNC_URL"] {
            read.maybe_url(name);
        }
        read.faults.extend(check_mapping(
            &settings.mapping,
            &settings.time_zone,
            &settings.phone_region,
        ));
        if read.faults.is_empty() {
            Ok(settings)
        } else {
            Err(Faults(read.faults))
        }
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

struct Reader<'a> {
    layers: &'a Layers,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn maybe(&mut self, name: &str) -> Option<String> {
        match self.layers.get(name) {
            Ok(value) => value,
            Err(fault) => {
                self.fault(fault);
                None
            }
        }
    }

    /// A setting that must be there; all that have a default are.
    fn text(&mut self, name: &str) -> String {
        let faults = self.faults.len();
        let value = self.maybe(name);
        if value.is_none() && self.faults.len() == faults {
            self.fault(format!("{name} is missing"));
        }
        value.unwrap_or_default()
    }

    fn secret(&mut self, name: &str) -> SecretString {
        self.text(name).into()
    }

    fn duration(&mut self, name: &str, least: Duration) -> Duration {
        let text = self.text(name);
        match parse_duration(&text) {
            Some(duration) if duration >= least => duration,
            Some(_) => {
                self.fault(format!("{name} is {text:?}, and must be {least:?} at least"));
                least
            }
            None if text.is_empty() => least,
            None => {
                self.fault(format!(
                    "{name} is {text:?}, which is not a duration such as 500ms, 15s, 2m or 24h"
                ));
                least
            }
        }
    }

    fn maybe_url(&mut self, name: &str) -> Option<Url> {
        let text = self.maybe(name)?;
        match text.trim_end_matches('/').parse::<Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                self.fault(format!("{name} is {text:?}, which is not an http or https address"));
                None
            }
        }
    }

    fn url_or(&mut self, name: &str, default: &str) -> Url {
        // The second default only stands in where a fault has been noted; nothing starts with it.
        #[expect(clippy::expect_used, reason = "a constant address parses")]
        let stand_in = || Url::parse("http://localhost").expect("a constant address parses");
        self.maybe_url(name)
            .unwrap_or_else(|| default.parse().unwrap_or_else(|_| stand_in()))
    }

    fn sanity(&mut self) -> SanitySettings {
        let project = self.text("SANITY_PROJECT_ID");
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !project.chars().all(legal) {
            self.fault(format!(
                "SANITY_PROJECT_ID is {project:?}, and may have letters, digits and '-' only"
            ));
        }
        let dataset = self.text("SANITY_DATASET");
        if !dataset.chars().all(|c| legal(c) || c == '_') {
            self.fault(format!(
                "SANITY_DATASET is {dataset:?}, and may have letters, digits, '-' and '_' only"
            ));
        }
        let max_age = match self.maybe("SANITY_WEBHOOK_MAX_AGE") {
            Some(_) => Some(self.duration("SANITY_WEBHOOK_MAX_AGE", Duration::from_secs(1))),
            None => None,
        };
        SanitySettings {
            api_url: self.url_or("SANITY_API_URL", &format!("https://{project}.api.sanity.io")),
            dataset,
            token: self.secret("SANITY_API_WRITE_TOKEN"),
            webhook_secret: self.secret("SANITY_WEBHOOK_SECRET"),
            webhook_secret_previous: self.maybe("SANITY_WEBHOOK_SECRET_PREVIOUS").map(SecretString::from),
            webhook_max_age: max_age,
            lead_type: self.text("SANITY_LEAD_TYPE"),
        }
    }

    fn bigin(&mut self) -> BiginSettings {
        let name = self.text("BIGIN_DATA_CENTER").to_lowercase();
        let found = DATA_CENTERS.iter().find(|(center, _, _)| *center == name);
        if found.is_none() {
            let names: Vec<_> = DATA_CENTERS.iter().map(|(center, _, _)| *center).collect();
            self.fault(format!(
                "BIGIN_DATA_CENTER is {name:?}, and must be one of {}",
                names.join(" ")
            ));
        }
        let (_, accounts, api) = found.unwrap_or(&DATA_CENTERS[0]);
        let api_domain = self.maybe_url("BIGIN_API_DOMAIN");
        BiginSettings {
            accounts_url: self.url_or("BIGIN_ACCOUNTS_URL", accounts),
            api_domain_is_set: api_domain.is_some(),
            api_domain: api_domain.unwrap_or_else(|| self.url_or("", api)),
            client_id: self.text("BIGIN_CLIENT_ID"),
            client_secret: self.secret("BIGIN_CLIENT_SECRET"),
            refresh_token: self.secret("BIGIN_REFRESH_TOKEN"),
            tags: self.tags(),
            lead_id_field: self.lead_id_field(),
            max_concurrency: self.max_concurrency(),
        }
    }

    /// Bigin's rules for tags (official CRM docs, create-tag): 25 characters, no comma and no angle brackets.
    fn tags(&mut self) -> Vec<String> {
        let text = self.text("BIGIN_TAGS");
        let tags: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect();
        for tag in &tags {
            if tag.chars().count() > 25 || tag.contains(['<', '>']) {
                self.fault(format!(
                    "BIGIN_TAGS has {tag:?}: a tag has 25 characters at most, and no '<' or '>'"
                ));
            }
        }
        if tags.is_empty() && !text.is_empty() {
            self.fault("BIGIN_TAGS names no tag".into());
        }
        tags
    }

    fn lead_id_field(&mut self) -> Option<String> {
        let field = self.maybe("BIGIN_LEAD_ID_FIELD")?;
        if !field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.fault(format!(
                "BIGIN_LEAD_ID_FIELD is {field:?}, which is not a field's API name such as Lead_ID"
            ));
        }
        Some(field)
    }

    fn max_concurrency(&mut self) -> usize {
        let text = self.text("BIGIN_MAX_CONCURRENCY");
        match text.parse() {
            Ok(calls @ 1..=100) => calls,
            _ => {
                self.fault(format!(
                    "BIGIN_MAX_CONCURRENCY is {text:?}, and must be a number from 1 to 100"
                ));
                1
            }
        }
    }

    fn time_zone(&mut self) -> TimeZone {
        let name = self.text("TIME_ZONE");
        TimeZone::get(&name).unwrap_or_else(|_| {
            self.fault(format!(
                "TIME_ZONE is {name:?}, which is not a time zone such as Europe/London"
            ));
            TimeZone::UTC
        })
    }

    fn database(&mut self) -> PathBuf {
        let url = self.text("DATABASE_URL");
        if let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
            if path.is_empty() {
                self.fault(
                    "DATABASE_URL names no file: sqlite://bigin-sync.db, or sqlite:///var/lib/bigin-sync.db".into(),
                );
            }
            return PathBuf::from(path);
        }
        // The address itself may hold a password.
        self.fault("DATABASE_URL must be sqlite:// and a path; PostgreSQL is not there yet".into());
        PathBuf::new()
    }

    fn listen(&mut self) -> SocketAddr {
        let port = self.layers.port();
        let text = match (&port, self.layers.is_set("LISTEN_ADDR")) {
            (Some(port), false) => format!("0.0.0.0:{port}"),
            _ => self.text("LISTEN_ADDR"),
        };
        text.parse().unwrap_or_else(|_| {
            self.fault(format!(
                "LISTEN_ADDR is {text:?}, which is not an address and port such as 127.0.0.1:8080"
            ));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn admin_token(&mut self, listen: &SocketAddr) -> Option<SecretString> {
        let token = self.maybe("ADMIN_TOKEN")?;
        if token.chars().count() < 32 && !listen.ip().is_loopback() {
            self.fault(
                "ADMIN_TOKEN is shorter than 32 characters, and the server listens beyond this machine: make one with `openssl rand -hex 24`"
                    .into(),
            );
        }
        Some(token.into())
    }

    fn log_json(&mut self) -> Option<bool> {
        match self.text("LOG_FORMAT").as_str() {
            "auto" => None,
            "json" => Some(true),
            "text" => Some(false),
            other => {
                self.fault(format!("LOG_FORMAT is {other:?}, and must be auto, text or json"));
                None
            }
        }
    }
}

/// `500ms`, `15s`, `2m`, `24h`, `30d`; a day has 24 hours here.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let seconds = span
        .total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours()))
        .ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a file of settings' secrets: one line, whose line break does not count.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests;
