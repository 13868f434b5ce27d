//! A place in a store that another process can open too: as text, without any secret.

use serde::{Deserialize, Serialize};

use crate::{Encryption, Error, Location, Settings, Store};

/// Where a store is, and how it is asked. No secret is part of it: who asks, each process finds out by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// As [`Location`] reads it.
    pub to: String,
    /// As in [`Settings`].
    pub region: Option<String>,
    /// As in [`Settings`].
    pub endpoint: Option<String>,
    /// As in [`Settings`].
    pub path_style: Option<bool>,
    /// As in [`Settings`].
    pub encryption: Option<Key>,
}

/// How what is stored is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// As [`Encryption::Aes256`].
    Aes256,
    /// As [`Encryption::Kms`], with the key's name.
    Kms(String),
}

impl Place {
    /// A place that is asked as the environment says.
    pub fn at(location: &Location) -> Place {
        let to = location.to_string();
        Place { to, region: None, endpoint: None, path_style: None, encryption: None }
    }

    fn settings(&self) -> Settings {
        Settings {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.path_style,
            encryption: self.encryption.as_ref().map(|encryption| match encryption {
                Key::Aes256 => Encryption::Aes256,
                Key::Kms(key) => Encryption::Kms(Some(key.clone())),
            }),
            ..Settings::default()
        }
    }

    /// Opens it; see [`Store::open`].
    ///
    /// # Errors
    /// It is no place, or [`Store::open`]'s.
    pub async fn open(&self) -> Result<Store, Error> {
        Store::open(&self.to.parse::<Location>()?, &self.settings()).await
    }
}
