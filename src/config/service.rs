//! What the commands need that talk to a running service: little, so that they can be used from another machine.

use reqwest::Url;
use secrecy::SecretString;

use super::read::Reader;
use super::{Faults, Layers};

/// A running service, as its callers know it.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where it answers.
    pub url: Url,
    /// What its API wants.
    pub admin_token: Option<SecretString>,
}

/// What is needed to read leads.
#[derive(Debug, Clone)]
pub struct SanityAccess {
    /// The project's id.
    pub project_id: String,
    /// Base address of the API.
    pub api_url: Url,
    /// The dataset.
    pub dataset: String,
    /// Robot token, Editor.
    pub token: SecretString,
    /// The document type of a lead.
    pub lead_type: String,
}

/// What is known of the access to Bigin so far; nothing of it has to be there.
#[derive(Debug, Clone)]
pub struct BiginAccess {
    /// The accounts server, where it is set itself.
    pub accounts_url: Option<String>,
    /// The address of the API, where it is set itself.
    pub api_domain: Option<String>,
    /// The data centre, where it is set and not the default.
    pub data_center: Option<String>,
    /// The self client.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<SecretString>,
    /// What `bigin-sync auth` gets.
    pub refresh_token: Option<SecretString>,
}

impl BiginAccess {
    /// Reads what there is.
    ///
    /// # Errors
    /// [`Faults`] lists what is wrong with the files.
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
    /// Reads `BIGIN_SYNC_URL` and `ADMIN_TOKEN`. Where no address is set but one to listen on is, the service is there.
    ///
    /// # Errors
    /// [`Faults`] lists what is wrong with them, and with the files they may be in.
    pub fn load(layers: &Layers) -> Result<Self, Faults> {
        let mut read = reader(layers, layers.faults());
        let (url, admin_token) = (read.service_url(), read.admin_token_of_caller());
        match url {
            Some(url) if read.faults.is_empty() => Ok(Self { url, admin_token }),
            _ => Err(Faults(read.faults)),
        }
    }

    /// Reads the address alone, whatever else is wrong.
    ///
    /// # Errors
    /// [`Faults`] says what is wrong with it.
    pub fn address(layers: &Layers) -> Result<Url, Faults> {
        let mut read = reader(layers, &[]);
        let url = read.service_url();
        url.filter(|_| read.faults.is_empty())
            .ok_or_else(|| Faults(std::mem::take(&mut read.faults)))
    }
}

impl SanityAccess {
    /// Reads what is needed to read leads.
    ///
    /// # Errors
    /// [`Faults`] lists all that is wrong.
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
