//! Where the NATS server is, and who we are to it: from a config's `nats` section, completed by the environment. Secrets
//! are never shown, logged or stored.

use super::NatsError;
use async_nats::ConnectOptions;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A password or a seed. It shows as `***`, in logs and in files.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// This secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn reveal(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// The `nats` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsOptions {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`; several servers of a cluster with commas. `TEGU_NATS_URL` where absent.
    pub url: Option<String>,
    /// User; `TEGU_NATS_USER`.
    pub user: Option<String>,
    /// The user's password; `TEGU_NATS_PASSWORD`.
    pub password: Option<Secret>,
    /// Seed of an nkey (`SU…`); `TEGU_NATS_NKEY`.
    pub nkey: Option<Secret>,
    /// A `.creds` file; `TEGU_NATS_CREDS`.
    pub credentials: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate, where the system does not know it; `TEGU_NATS_CA`.
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate, where the server asks for one; `TEGU_NATS_CERT`.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key; `TEGU_NATS_KEY`.
    pub key: Option<PathBuf>,
    /// Whether a connection without TLS is refused. It is where the URL begins with `tls`.
    pub require_tls: bool,
}

impl NatsOptions {
    /// This server, and the environment.
    pub fn at(url: Option<&str>) -> Self {
        Self { url: url.map(str::to_owned), ..Self::default() }
    }

    /// With files that stand in `folder` found there.
    pub fn beside(self, folder: &Path) -> Self {
        let there = |path: PathBuf| if path.is_relative() { folder.join(path) } else { path };
        Self {
            credentials: self.credentials.map(there),
            ca: self.ca.map(there),
            certificate: self.certificate.map(there),
            key: self.key.map(there),
            ..self
        }
    }

    /// With the environment's variables in the place of what is absent.
    pub fn or_environment(self) -> Self {
        self.or(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn or(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let file = |name: &str| variable(name).map(PathBuf::from);
        let secret = |name: &str| variable(name).map(Secret);
        // Who names one way to prove who it is means that one alone.
        let identified = self.user.is_some() || self.nkey.is_some() || self.credentials.is_some();
        let unless = |name: &str| variable(name).filter(|_| !identified);
        Self {
            url: self.url.or_else(|| variable("TEGU_NATS_URL")),
            password: self.password.or_else(|| secret("TEGU_NATS_PASSWORD")),
            user: self.user.or_else(|| unless("TEGU_NATS_USER")),
            nkey: self.nkey.or_else(|| unless("TEGU_NATS_NKEY").map(Secret)),
            credentials: self.credentials.or_else(|| unless("TEGU_NATS_CREDS").map(PathBuf::from)),
            ca: self.ca.or_else(|| file("TEGU_NATS_CA")),
            certificate: self.certificate.or_else(|| file("TEGU_NATS_CERT")),
            key: self.key.or_else(|| file("TEGU_NATS_KEY")),
            require_tls: self.require_tls,
        }
    }

    /// The server's address without what it may hold of a password.
    pub fn address(&self) -> String {
        let servers = self.url.as_deref().unwrap_or_default().split(',');
        let without = |server: &str| match (server.split_once("://"), server.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            _ => server.to_owned(),
        };
        servers.map(|server| without(server.trim())).collect::<Vec<_>>().join(",")
    }

    /// As the client library wants them.
    pub(super) async fn connect_options(&self) -> Result<ConnectOptions, NatsError> {
        let wrong = |field: &'static str, reason: String| NatsError::Options { field, reason };
        // A message that waits for the server to come back is worth more than one that is refused.
        let mut options = ConnectOptions::new()
            .name("tegu")
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(10))
            .request_timeout(Some(Duration::from_secs(10)));
        for file in [("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)] {
            if let (field, Some(path)) = file {
                std::fs::metadata(path).map_err(|error| wrong(field, format!("{}: {error}", path.display())))?;
            }
        }
        options = match (&self.user, &self.password) {
            (Some(user), Some(password)) => options.user_and_password(user.clone(), password.reveal()),
            (None, None) => options,
            (Some(_), None) => return Err(wrong("password", "missing, expected that of the user".to_owned())),
            (None, Some(_)) if self.nkey.is_some() || self.credentials.is_some() => options,
            (None, Some(_)) => return Err(wrong("user", "missing, expected the one of the password".to_owned())),
        };
        if let Some(seed) = &self.nkey {
            options = options.nkey(seed.reveal());
        }
        if let Some(path) = &self.credentials {
            let read = options.credentials_file(path).await;
            options = read.map_err(|error| wrong("credentials", format!("{}: {error}", path.display())))?;
        }
        if let Some(path) = &self.ca {
            options = options.add_root_certificates(path.clone());
        }
        options = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => options.add_client_certificate(certificate.clone(), key.clone()),
            (None, None) => options,
            (Some(_), None) => return Err(wrong("key", "missing, expected that of the certificate".to_owned())),
            (None, Some(_)) => return Err(wrong("certificate", "missing, expected the one of the key".to_owned())),
        };
        let tls = self.require_tls || self.url.as_deref().is_some_and(|url| url.starts_with("tls://"));
        Ok(if tls { options.require_tls(true) } else { options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let options = NatsOptions {
            url: Some("nats://me:hush@host:4222, tls://token@other".to_owned()),
            password: Some(Secret::new("hush")),
            nkey: Some(Secret::new("SUHUSH")),
            ..NatsOptions::default()
        };
        assert_eq!(options.address(), "nats://host:4222,tls://other");
        let shown = NatsOptions { url: None, ..options };
        let texts = [format!("{shown:?}"), serde_json::to_string(&shown).unwrap()];
        assert!(texts.iter().all(|text| !text.to_lowercase().contains("hush") && text.contains("***")), "{texts:?}");
    }

    #[test]
    fn the_environment_completes_what_a_config_leaves_out() {
        let variable = |name: &str| Some(format!("{name}!"));
        let all = NatsOptions::default().or(variable);
        assert_eq!(all.url.as_deref(), Some("TEGU_NATS_URL!"));
        assert_eq!(all.credentials, Some("TEGU_NATS_CREDS!".into()));
        let named = NatsOptions { user: Some("me".to_owned()), ..NatsOptions::default() }.or(variable);
        assert_eq!((named.user.as_deref(), named.nkey, named.credentials), (Some("me"), None, None));
        assert_eq!(named.password, Some(Secret::new("TEGU_NATS_PASSWORD!")));
    }
}
