//! The settings of commands that call a running service: few, so that they work from another machine.

use reqwest::Url;
use secrecy::SecretString;

use super::read::Reader;
use super::{Faults, Layers, SanityAccess};

/// How to call a running service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Its URL.
    pub url: Url,
    /// The token of its API.
    pub admin_token: Option<SecretString>,
}

/// The settings for access to Bigin, all optional.
#[derive(Debug, Clone)]
pub struct BiginAccess {
    /// The accounts server, if it is set itself.
    pub accounts_url: Option<String>,
    /// The URL of the API, if it is set itself.
    pub api_domain: Option<String>,
    /// The data center, if it is set.
    pub data_center: Option<String>,
    /// The self client's ID.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<SecretString>,
    /// The token that `bigin-sync auth` gets.
    pub refresh_token: Option<SecretString>,
}

impl BiginAccess {
    /// # Errors
    /// [`Faults`] lists the problems of the files.
    pub fn load(layers: &Layers) -> Result<Self, Faults> {
        let mut faults = layers.faults().to_vec();
        let mut get = |name: &str| {
            let value = layers.get(name);
            value.unwrap_or_else(|fault| {
                faults.push(fault);
                None
            })
        };
        let access = Self {
            accounts_url: get("BIGIN_ACCOUNTS_URL"),
            api_domain: get("BIGIN_API_DOMAIN"),
            data_center: get("BIGIN_DATA_CENTER").filter(|_| layers.is_set("BIGIN_DATA_CENTER")),
            client_id: get("BIGIN_CLIENT_ID"),
            client_secret: get("BIGIN_CLIENT_SECRET").map(SecretString::from),
            refresh_token: get("BIGIN_REFRESH_TOKEN").map(SecretString::from),
        };
        if faults.is_empty() {
            Ok(access)
        } else {
            Err(Faults(faults))
        }
    }
}

impl ServiceSettings {
    /// Reads `BIGIN_SYNC_URL` and `ADMIN_TOKEN`. Without the URL, `LISTEN_ADDR` or `PORT` is used.
    ///
    /// # Errors
    /// [`Faults`] lists their problems, and those of the files.
    pub fn load(layers: &Layers) -> Result<Self, Faults> {
        let mut read = reader(layers, layers.faults());
        let (url, admin_token) = (read.service_url(), read.admin_token_of_caller());
        match url {
            Some(url) if read.faults.is_empty() => Ok(Self { url, admin_token }),
            _ => Err(Faults(read.faults)),
        }
    }

    /// Reads the URL only, whatever other problems there are.
    ///
    /// # Errors
    /// [`Faults`] has its problem.
    pub fn address(layers: &Layers) -> Result<Url, Faults> {
        let mut read = reader(layers, &[]);
        let url = read.service_url();
        url.filter(|_| read.faults.is_empty())
            .ok_or_else(|| Faults(std::mem::take(&mut read.faults)))
    }
}

impl SanityAccess {
    /// # Errors
    /// [`Faults`] lists all problems.
    pub fn load(layers: &Layers) -> Result<Self, Faults> {
        let mut read = reader(layers, layers.faults());
        let access = read.sanity_access();
        if read.faults.is_empty() {
            Ok(access)
        } else {
            Err(Faults(read.faults))
        }
    }
}

fn reader<'a>(layers: &'a Layers, faults: &[String]) -> Reader<'a> {
    Reader {
        layers,
        faults: faults.to_vec(),
    }
}
