//! Which database: what `DATABASE_URL` says.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::poll_fn;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A server that has not answered by then is down.
const CONNECT: Duration = Duration::from_secs(5);

/// A server that has not acknowledged what was sent by then is cut off.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// A server's machine that says nothing is asked this often whether it is there; one that is gone without a word shows within
/// [`UNACKNOWLEDGED`] of the first question, and not after hours.
const SILENCE: Duration = Duration::from_secs(10);

/// A database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file, for one process.
    Sqlite(PathBuf),
    /// A server, for several replicas.
    Postgres(Box<Address>),
}

impl Database {
    /// Reads a `DATABASE_URL`.
    ///
    /// # Errors
    /// [`DatabaseUrlError`].
    pub fn parse(url: &SecretString) -> Result<Self, DatabaseUrlError> {
        let text = url.expose_secret();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(Box::new(Address::parse(url)?)));
        }
        let Some(path) = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) else {
            return Err(DatabaseUrlError::Scheme);
        };
        if path.is_empty() {
            return Err(DatabaseUrlError::NoFile);
        }
        // SQLite would keep the first in memory, where a restart loses what was acknowledged, and take the second for
        // the beginning of a name.
        if path == ":memory:" || path.contains('?') {
            return Err(DatabaseUrlError::NotAFile);
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(address) => write!(f, "{address}"),
        }
    }
}

/// Where a server is, and how it is spoken to. Shows neither user nor password.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// A problem of `DATABASE_URL`, whose name stands before it. Nothing of the URL is in it, which may have a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Neither `sqlite:` nor `postgres:`.
    #[error("must be sqlite:// and a path, or postgres:// and where the server is")]
    Scheme,
    /// SQLite without a path.
    #[error("names no file: sqlite://bigin-sync.db, or sqlite:///var/lib/bigin-sync.db")]
    NoFile,
    /// SQLite in memory or with parameters.
    #[error("must be sqlite:// and the path of a file, without parameters")]
    NotAFile,
    /// It is not an address.
    #[error("is not a PostgreSQL address like postgres://user:password@host/database: {0}")]
    Malformed(String),
    /// The certificates of `sslrootcert` cannot be read.
    #[error("names a file of certificates (sslrootcert) that cannot be read: {0}")]
    Certificates(String),
}

impl Address {
    /// Reads an address as libpq has it, with `sslmode` (`disable`, `prefer`, `require`, `verify-full`) and `sslrootcert` (a file
    /// of certificates to trust instead of the public ones). Where TLS is spoken the server's certificate is always verified.
    /// Of several hosts the first one is taken that accepts writes, whatever `target_session_attrs` says.
    ///
    /// # Errors
    /// [`DatabaseUrlError`] says what is wrong with it.
    pub fn parse(url: &SecretString) -> Result<Self, DatabaseUrlError> {
        let (url, certificates) = without_foreign_options(url.expose_secret());
        let mut config: Config = url
            .parse()
            .map_err(|error: tokio_postgres::Error| DatabaseUrlError::Malformed(error.to_string()))?;
        if config.get_hosts().is_empty() {
            return Err(DatabaseUrlError::Malformed("it names no host".into()));
        }
        config
            .application_name("bigin-sync")
            // Where the old primary has come back as a standby after a failover, it may be the first host of the address.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / 2);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(tls(certificates.as_ref())?),
        };
        Ok(Self { config, tls })
    }

    /// Connects. Nothing is sent or received unless the messages are read.
    ///
    /// # Errors
    /// What the server says, or that there is none.
    pub async fn connect(&self) -> Result<(Client, Messages), tokio_postgres::Error> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                Ok((client, messages(connection)))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                Ok((client, messages(connection)))
            }
        }
    }
}

/// What a server says of its own accord, until the connection ends.
pub type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Send>>;

fn messages<S, T>(mut connection: Connection<S, T>) -> Messages
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Box::pin(poll_fn(move |context| connection.poll_message(context)))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        f.write_str(&hosts.collect::<Vec<_>>().join(","))?;
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The address without what this client does not know or decides itself: which certificates to trust, that they are to be
/// verified, which they always are, and which of several servers is wanted, which is always the one that accepts writes.
fn without_foreign_options(url: &str) -> (String, Option<PathBuf>) {
    let Some((address, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut certificates = None;
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslrootcert", path)) => certificates = Some(PathBuf::from(path.replace("%2F", "/"))),
            Some(("sslmode", "verify-full" | "verify-ca")) => rest.push("sslmode=require"),
            Some(("target_session_attrs", _)) => {}
            _ => rest.push(pair),
        }
    }
    (format!("{address}?{}", rest.join("&")), certificates)
}

fn tls(certificates: Option<&PathBuf>) -> Result<MakeRustlsConnect, DatabaseUrlError> {
    let unreadable = |error: String| DatabaseUrlError::Certificates(error);
    let mut roots = rustls::RootCertStore::empty();
    match certificates {
        None => {
            let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
            roots.add_parsable_certificates(public);
        }
        Some(path) => {
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, DatabaseUrlError> {
        Address::parse(&SecretString::from(url))
    }

    #[test]
    fn an_address_shows_neither_user_nor_password() {
        let address = parse("postgres://bob:secret@db.example.org:5433/leads?sslmode=require").unwrap();
        assert_eq!(format!("{address}"), "db.example.org/leads");
        assert_eq!(format!("{address:?}"), "Address(db.example.org/leads)");
    }

    #[test]
    fn a_bad_address_is_told_without_its_password() {
        for url in [
            "postgres://bob:secret@db.example.org:port/leads",
            "postgres://bob:secret@db.example.org/leads?sslmod=1",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, DatabaseUrlError::Malformed(_)), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn only_a_server_that_takes_writes_is_connected_to() {
        for query in ["", "?target_session_attrs=any", "?target_session_attrs=standby"] {
            let address = parse(&format!("postgres://one.example.org,two.example.org/leads{query}")).unwrap();
            let attrs = address.config.get_target_session_attrs();
            assert_eq!(attrs, TargetSessionAttrs::ReadWrite, "{query}");
        }
    }

    #[test]
    fn tls_is_spoken_as_libpq_has_it_and_its_certificates_are_verified() {
        let tls = |url| parse(url).unwrap().tls.is_some();
        assert!(tls("postgres://db.example.org/leads"), "preferred");
        assert!(tls("postgres://db.example.org/leads?sslmode=verify-full"));
        assert!(!tls("postgres://db.example.org/leads?sslmode=disable"));
        let missing = parse("postgres://db.example.org/leads?sslmode=require&sslrootcert=/nowhere/ca.pem");
        assert!(matches!(missing, Err(DatabaseUrlError::Certificates(_))), "{missing:?}");
    }
}
