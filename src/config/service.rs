//! The settings of commands that call a running service: few, so that they work from another machine.

use reqwest::Url;
use secrecy::SecretString;

use super::read::Reader;
use super::{ConfigErrors, Layers, SanitySettings};

/// How to call a running service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    pub url: Url,
    /// The token of its API.
    pub admin_token: Option<SecretString>,
}

/// The settings for access to Bigin, all optional.
#[derive(Debug, Clone)]
pub struct BiginAccess {
    /// The accounts server, if it is set itself.
    pub accounts_url: Option<Url>,
    /// The URL of the API, if it is set itself.
    pub api_domain: Option<Url>,
    /// The data center, if it is set.
    pub data_center: Option<String>,
    /// The self client's ID.
    pub client_id: Option<String>,
    pub client_secret: Option<SecretString>,
    /// The token that `bigin-sync auth` gets.
    pub refresh_token: Option<SecretString>,
}

impl BiginAccess {
    /// # Errors
    /// [`ConfigErrors`] lists all problems.
    pub fn load(layers: &Layers) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(layers);
        let access = Self {
            accounts_url: read.maybe_url("BIGIN_ACCOUNTS_URL"),
            api_domain: read.maybe_url("BIGIN_API_DOMAIN"),
            data_center: read
                .maybe("BIGIN_DATA_CENTER")
                .filter(|_| layers.is_set("BIGIN_DATA_CENTER")),
            client_id: read.maybe("BIGIN_CLIENT_ID"),
            client_secret: read.maybe("BIGIN_CLIENT_SECRET").map(SecretString::from),
            refresh_token: read.maybe("BIGIN_REFRESH_TOKEN").map(SecretString::from),
        };
        read.finish(access)
    }
}

impl ServiceSettings {
    /// Reads `BIGIN_SYNC_URL` and `ADMIN_TOKEN`. Without the URL, `LISTEN_ADDR` or `PORT` is used.
    ///
    /// # Errors
    /// [`ConfigErrors`] lists their problems, and those of the files.
    pub fn load(layers: &Layers) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(layers);
        let (url, admin_token) = (read.service_url(), read.admin_token_of_caller());
        read.finish(Self { url, admin_token })
    }

    /// Reads the URL only, whatever other problems there are.
    ///
    /// # Errors
    /// [`ConfigErrors`] has its problem.
    pub fn address(layers: &Layers) -> Result<Url, ConfigErrors> {
        let mut read = Reader::new(layers);
        read.errors.clear();
        let url = read.service_url();
        read.finish(url)
    }
}

impl SanitySettings {
    /// # Errors
    /// [`ConfigErrors`] lists all problems.
    pub fn load(layers: &Layers) -> Result<Self, ConfigErrors> {
        let mut read = Reader::new(layers);
        let settings = read.sanity();
        read.finish(settings)
    }
}
