//! The format of each setting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Url;
use secrecy::SecretString;

use super::{
    AlertSettings, BiginSettings, ConfigError, ConfigErrors, Layers, SanitySettings, WebhookSettings, parse_duration,
};
use crate::database::Database;
use crate::domain::mapping::Mapping;
use crate::domain::phone::is_region;

/// Zoho's data centers for Bigin and their accounts servers, the most likely first (official docs, multi-dc).
pub const DATA_CENTERS: [(&str, &str); 8] = [
    ("us", "https://accounts.zoho.com"),
    ("eu", "https://accounts.zoho.eu"),
    ("in", "https://accounts.zoho.in"),
    ("au", "https://accounts.zoho.com.au"),
    ("cn", "https://accounts.zoho.com.cn"),
    ("jp", "https://accounts.zoho.jp"),
    ("sa", "https://accounts.zoho.sa"),
    ("ca", "https://accounts.zohocloud.ca"),
];

/// Reads settings one by one, and collects all problems.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    /// Begins with the problems of the files.
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self {
            layers,
            errors: layers.errors().to_vec(),
        }
    }

    /// What was read, if there is no problem.
    pub(super) fn finish<T>(self, read: T) -> Result<T, ConfigErrors> {
        ConfigErrors::check(self.errors).map(|()| read)
    }

    fn invalid(&mut self, name: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError::invalid(name, problem));
    }

    pub(super) fn maybe(&mut self, name: &str) -> Option<String> {
        self.layers.get(name).unwrap_or_else(|error| {
            self.errors.push(error);
            None
        })
    }

    /// A required setting. One with a default is never missing.
    pub(super) fn text(&mut self, name: &str) -> String {
        let errors = self.errors.len();
        let value = self.maybe(name);
        if value.is_none() && self.errors.len() == errors {
            self.errors.push(ConfigError::Missing(name.to_owned()));
        }
        value.unwrap_or_default()
    }

    /// A generated secret.
    fn token(&mut self, name: &str) -> SecretString {
        let token = self.text(name);
        self.check_token(name, &token);
        token.into()
    }

    /// A token copied with a space or a line break is not valid in a header: every call would fail as if the service could not
    /// be reached.
    fn check_token(&mut self, name: &str, token: &str) {
        if !token.bytes().all(|c| c.is_ascii_graphic()) {
            self.invalid(
                name,
                "contains a space, a line break or a character beyond ASCII, which no token does",
            );
        }
    }

    fn is_not(&mut self, name: &str, value: &str, wanted: &str) {
        self.invalid(name, format!("is {value:?}, and must be {wanted}"));
    }

    /// A required setting of a format that `parse` reads.
    fn parsed<T>(&mut self, name: &str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name);
        let parsed = parse(&text);
        if parsed.is_none() && !text.is_empty() {
            self.is_not(name, &text, wanted);
        }
        parsed
    }

    /// A required name of letters, digits and some `more`.
    fn name(&mut self, name: &str, more: &str, wanted: &str) -> String {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        let parse = |text: &str| text.chars().all(is_legal).then(|| text.to_owned());
        self.parsed(name, wanted, parse).unwrap_or_default()
    }

    pub(super) fn duration(&mut self, name: &str, least: Duration) -> Duration {
        let wanted = "a duration such as 500ms, 15s, 2m or 24h";
        let duration = self.parsed(name, wanted, parse_duration).unwrap_or(least);
        if duration < least {
            self.invalid(name, format!("is {duration:?}, and must be at least {least:?}"));
        }
        duration.max(least)
    }

    pub(super) fn maybe_url(&mut self, name: &str) -> Option<Url> {
        let text = self.maybe(name)?;
        // Paths are appended to it, and logs show it. It is not quoted here, since the text before an '@' may be a password.
        match address_url(&text) {
            Some(url) if url.query().is_some() || url.fragment().is_some() => {
                self.invalid(name, "must not contain '?' or '#'");
                None
            }
            Some(url) if !url.username().is_empty() || url.password().is_some() => {
                self.invalid(name, "must not contain a user name or password");
                None
            }
            Some(url) => Some(url),
            None if text.contains('@') => {
                self.invalid(name, "must be an http or https URL");
                None
            }
            None => {
                self.is_not(name, &text, "an http or https URL");
                None
            }
        }
    }

    /// A URL that is a secret and is never quoted.
    fn secret_url(&mut self, name: &str) -> Option<SecretString> {
        let text = self.maybe(name)?;
        if address_url(&text).is_none() {
            self.invalid(name, "must be an http or https URL");
            return None;
        }
        Some(text.into())
    }

    pub(super) fn alerts(&mut self) -> AlertSettings {
        AlertSettings {
            alert_url: self.secret_url("ALERT_URL"),
            heartbeat_url: self.secret_url("HEARTBEAT_URL"),
            daily_credits: self.daily_credits(),
        }
    }

    fn daily_credits(&mut self) -> Option<u64> {
        self.maybe("BIGIN_DAILY_CREDITS")?;
        let wanted = "a whole number such as 5000";
        self.parsed("BIGIN_DAILY_CREDITS", wanted, |text| {
            text.parse().ok().filter(|credits| *credits > 0)
        })
    }

    fn url_or(&mut self, name: &str, default: &str) -> Url {
        // The second default is used only after a problem, with which nothing starts.
        #[expect(clippy::expect_used, reason = "a constant URL parses")]
        let placeholder = || Url::parse("http://localhost").expect("a constant URL parses");
        self.maybe_url(name)
            .unwrap_or_else(|| default.parse().unwrap_or_else(|_| placeholder()))
    }

    pub(super) fn webhook(&mut self) -> WebhookSettings {
        let max_age = self.maybe("SANITY_WEBHOOK_MAX_AGE");
        let max_age = max_age.map(|_| self.duration("SANITY_WEBHOOK_MAX_AGE", Duration::from_secs(1)));
        let secret = self.text("SANITY_WEBHOOK_SECRET");
        let previous = self.maybe("SANITY_WEBHOOK_SECRET_PREVIOUS");
        // Spaces are valid, since this may be a passphrase; Sanity's form accepts no line break.
        for (name, secret) in [
            ("SANITY_WEBHOOK_SECRET", Some(&secret)),
            ("SANITY_WEBHOOK_SECRET_PREVIOUS", previous.as_ref()),
        ] {
            if secret.is_some_and(|secret| secret.contains(['\r', '\n'])) {
                self.invalid(name, "contains a line break, which no webhook's secret does");
            }
        }
        WebhookSettings {
            secret: secret.into(),
            secret_previous: previous.map(SecretString::from),
            max_age,
        }
    }

    pub(super) fn sanity(&mut self) -> SanitySettings {
        let project = self.name("SANITY_PROJECT_ID", "-", "letters, digits and '-'");
        let dataset = self.name("SANITY_DATASET", "-_", "letters, digits, '-' and '_'");
        let wanted = "the name in the schema: letters, digits, '_', '.' and '-'";
        let lead_type = self.name("SANITY_LEAD_TYPE", "-_.", wanted);
        SanitySettings {
            token: self.token("SANITY_API_WRITE_TOKEN"),
            api_url: self.url_or("SANITY_API_URL", &format!("https://{project}.api.sanity.io")),
            project_id: project,
            dataset,
            lead_type,
            max_answer: None,
        }
    }

    pub(super) fn bigin(&mut self) -> BiginSettings {
        let name = self.text("BIGIN_DATA_CENTER").to_lowercase();
        let found = DATA_CENTERS.iter().find(|(center, _)| *center == name);
        if found.is_none() {
            let names: Vec<_> = DATA_CENTERS.iter().map(|(center, _)| *center).collect();
            self.is_not("BIGIN_DATA_CENTER", &name, &format!("one of {}", names.join(" ")));
        }
        let (_, accounts) = found.unwrap_or(&DATA_CENTERS[0]);
        BiginSettings {
            accounts_url: self.url_or("BIGIN_ACCOUNTS_URL", accounts),
            api_domain: self.maybe_url("BIGIN_API_DOMAIN"),
            // The host differs in its first part only: accounts.zoho.eu, bigin.zoho.eu.
            web_url: accounts.replace("//accounts.", "//bigin."),
            client_id: self.text("BIGIN_CLIENT_ID"),
            client_secret: self.token("BIGIN_CLIENT_SECRET"),
            refresh_token: self.token("BIGIN_REFRESH_TOKEN"),
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
                let problem = format!("contains {tag:?}: a tag has at most 25 characters, and no '<' or '>'");
                self.invalid("BIGIN_TAGS", problem);
            }
        }
        if tags.is_empty() && !text.is_empty() {
            self.invalid("BIGIN_TAGS", "contains no tag");
        }
        tags
    }

    fn lead_id_field(&mut self) -> Option<String> {
        self.maybe("BIGIN_LEAD_ID_FIELD")?;
        Some(self.name("BIGIN_LEAD_ID_FIELD", "_", "a field's API name such as Lead_ID"))
    }

    fn max_concurrency(&mut self) -> usize {
        let calls = |text: &str| text.parse().ok().filter(|calls| (1..=100).contains(calls));
        self.parsed("BIGIN_MAX_CONCURRENCY", "a number from 1 to 100", calls)
            .unwrap_or(1)
    }

    pub(super) fn mapping(&mut self) -> Mapping {
        let zone = |name: &str| TimeZone::get(name).ok();
        let zone = self.parsed("TIME_ZONE", "a time zone such as Europe/London", zone);
        let region = |text: &str| is_region(text).then(|| text.to_owned());
        let region = self.parsed("PHONE_REGION", "the two letters of a country such as GB", region);
        // The defaults, so that the templates that use an invalid one have no problem of their own.
        let (zone, region) = (zone.unwrap_or(TimeZone::UTC), region.unwrap_or_else(|| "GB".to_owned()));
        let (mapping, errors) = Mapping::new(&self.layers.mapping(), zone, &region);
        self.errors.extend(errors.into_iter().map(ConfigError::from));
        mapping
    }

    pub(super) fn database(&mut self) -> Database {
        let url = SecretString::from(self.text("DATABASE_URL"));
        Database::parse(&url).unwrap_or_else(|error| {
            self.invalid("DATABASE_URL", error.to_string());
            Database::Sqlite(PathBuf::new())
        })
    }

    pub(super) fn listen(&mut self) -> SocketAddr {
        let port = self.layers.port();
        let text = match (&port, self.layers.is_set("LISTEN_ADDR")) {
            (Some(port), false) => format!("0.0.0.0:{port}"),
            _ => self.text("LISTEN_ADDR"),
        };
        text.parse().unwrap_or_else(|_| {
            match port {
                Some(port) if !self.layers.is_set("LISTEN_ADDR") => {
                    self.is_not("PORT", port, "a number up to 65535");
                }
                _ => self.is_not("LISTEN_ADDR", &text, "an address and port such as 127.0.0.1:8080"),
            }
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// The URL of a running service; by default the one that these settings listen on.
    pub(super) fn service_url(&mut self) -> Url {
        let listens = self.layers.is_set("LISTEN_ADDR") || self.layers.port().is_some();
        if self.layers.is_set("BIGIN_SYNC_URL") || !listens {
            return self.url_or("BIGIN_SYNC_URL", "");
        }
        let mut address = self.listen();
        // The address of all interfaces cannot be called.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        self.url_or("", &format!("http://{address}"))
    }

    /// A caller's admin token; only the service checks its length.
    pub(super) fn admin_token_of_caller(&mut self) -> Option<SecretString> {
        let token = self.maybe("ADMIN_TOKEN")?;
        self.check_token("ADMIN_TOKEN", &token);
        Some(token.into())
    }

    pub(super) fn admin_token(&mut self, listen: &SocketAddr, public_url: Option<&Url>) -> Option<SecretString> {
        let token = self.maybe("ADMIN_TOKEN")?;
        self.check_token("ADMIN_TOKEN", &token);
        let is_of_this_machine = |url: &Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        // A proxy on this machine may be reachable from others.
        let is_open = !listen.ip().is_loopback() || public_url.is_some_and(|url| !is_of_this_machine(url));
        if token.chars().count() < 32 && is_open {
            let problem = "is shorter than 32 characters, and other machines can reach the service: create one with `openssl rand -hex 24`";
            self.invalid("ADMIN_TOKEN", problem);
        }
        Some(token.into())
    }

    pub(super) fn log_json(&mut self) -> Option<bool> {
        let parse = |text: &str| match text {
            "auto" => Some(None),
            "json" => Some(Some(true)),
            "text" => Some(Some(false)),
            _ => None,
        };
        self.parsed("LOG_FORMAT", "auto, text or json", parse).flatten()
    }
}

fn address_url(text: &str) -> Option<Url> {
    let url: Url = text.trim_end_matches('/').parse().ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}
