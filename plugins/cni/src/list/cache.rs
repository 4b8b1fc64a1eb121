//! What ADD answered, kept for CHECK and DEL in libcni's own place and form (`cniCacheV1`), so that
//! either can read what the other wrote. Unlike libcni's, a file here is whole or absent: an empty
//! one after a crash costs every plugin its prevResult.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bulkhead_model::{AttachmentKey, IfName, NetworkName};

use super::{Attachment, NetworkList};
use crate::json::{FieldError, Object, Value};

const KIND: &str = "cniCacheV1";

/// The cache below a directory, by default `/var/lib/cni`.
#[derive(Clone, Debug)]
pub struct Cache {
    results: PathBuf,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedAttachment {
    /// The network.
    pub network: NetworkName,
    /// How it was added.
    pub attachment: Attachment,
    /// The result of its ADD, as written.
    pub result: Value,
    /// The bytes of the network list it was added with; empty if none can be read.
    pub config: Vec<u8>,
}

/// An entry that cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("result cache {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The entry is not JSON.
    #[error("result cache {}: not JSON", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The entry is not one of `cniCacheV1`.
    #[error("result cache {}: not an entry", path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// What.
        #[source]
        source: FieldError,
    },
}

impl Cache {
    /// The cache below `dir`; nothing is created before something is stored.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            results: dir.join("results"),
        }
    }

    /// Writes the entry of an attachment, durably and at once.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn store(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        result: &Value,
    ) -> Result<(), CacheError> {
        let key = attachment.key(&list.name);
        let path = self.path(&key);
        let entry = entry(&key, attachment, &list.bytes, result);
        write_atomically(&self.results, &path, entry.to_string().as_bytes())
            .map_err(|source| CacheError::Io { path, source })
    }

    /// The entry of an attachment; `None` if there is none or the file is empty.
    ///
    /// # Errors
    /// The file cannot be read or is not an entry.
    pub fn load(&self, key: &AttachmentKey) -> Result<Option<CachedAttachment>, CacheError> {
        read_entry(&self.path(key))
    }

    /// Removes the entry of an attachment, if there is one.
    ///
    /// # Errors
    /// [`CacheError::Io`].
    pub fn remove(&self, key: &AttachmentKey) -> Result<(), CacheError> {
        let path = self.path(key);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::Io { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Every entry of `network` in order of the file names. Files that are not entries are passed
    /// by, as libcni does.
    ///
    /// # Errors
    /// The directory exists and cannot be read.
    pub fn entries(&self, network: &NetworkName) -> Result<Vec<CachedAttachment>, CacheError> {
        let failed = |source| CacheError::Io {
            path: self.results.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&self.results) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        paths.sort();
        let found = paths
            .iter()
            .filter_map(|path| read_entry(path).ok().flatten());
        Ok(found.filter(|entry| entry.network == *network).collect())
    }

    fn path(&self, key: &AttachmentKey) -> PathBuf {
        let name = format!("{}-{}-{}", key.network, key.container, key.interface);
        self.results.join(name)
    }
}

fn entry(key: &AttachmentKey, attachment: &Attachment, list: &[u8], result: &Value) -> Value {
    let mut entry = Value::EMPTY;
    entry.set("kind", KIND.into());
    entry.set("containerId", key.container.as_str().into());
    entry.set("config", base64(list).into());
    entry.set("ifName", key.interface.as_str().into());
    entry.set("networkName", key.network.as_str().into());
    if let Some(netns) = &attachment.netns {
        entry.set("netns", netns.to_string_lossy().into_owned().into());
    }
    if !attachment.args.is_empty() {
        let pair = |(k, v): &(String, String)| Value::from(vec![k.as_str(), v.as_str()]);
        entry.set(
            "cniArgs",
            Value::Array(attachment.args.iter().map(pair).collect()),
        );
    }
    if !attachment.capabilities.is_empty() {
        entry.set(
            "capabilityArgs",
            Value::Object(attachment.capabilities.clone()),
        );
    }
    entry.set("result", result.clone());
    entry
}

fn read_entry(path: &Path) -> Result<Option<CachedAttachment>, CacheError> {
    let path = path.to_owned();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) if bytes.is_empty() => return Ok(None),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CacheError::Io { path, source }),
    };
    match Value::parse(&bytes) {
        Ok(value) => parse_entry(&value)
            .map(Some)
            .map_err(|source| CacheError::Field { path, source }),
        Err(source) => Err(CacheError::Json { path, source }),
    }
}

fn parse_entry(value: &Value) -> Result<CachedAttachment, FieldError> {
    let root = Object::root(value)?;
    let kind = root.required("kind", KIND)?;
    if kind.str()? != KIND {
        return Err(kind.invalid(KIND));
    }
    let mut args = Vec::new();
    for field in root.items("cniArgs")? {
        match field.items()?.as_slice() {
            [key, value] => args.push((key.str()?.to_owned(), value.str()?.to_owned())),
            _ => return Err(field.invalid("a pair of strings")),
        }
    }
    let capabilities = root.optional_object("capabilityArgs")?;
    let capabilities = capabilities.iter().flat_map(Object::members);
    let interface: IfName = root.required("ifName", "an interface name")?.parse()?;
    let config = root.optional_string("config")?.and_then(from_base64);
    Ok(CachedAttachment {
        network: root.required("networkName", "a network name")?.parse()?,
        attachment: Attachment {
            container: root.required("containerId", "a container id")?.parse()?,
            netns: root.optional_string("netns")?.map(PathBuf::from),
            interface,
            args,
            capabilities: capabilities
                .map(|(name, field)| (name.to_owned(), field.value().clone()))
                .collect(),
            args_cni: Vec::new(),
        },
        result: root
            .required("result", "the result of ADD")?
            .value()
            .clone(),
        config: config.unwrap_or_default(),
    })
}

/// A reader sees the old file or the new one, and after a crash one of both.
fn write_atomically(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = dir.join(format!(".{name}.{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 §4 with padding, as Go writes a byte slice into JSON.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= chunk.len() {
                let sextet = bits >> (18 - 6 * place) & 0x3f;
                text.push(char::from(ALPHABET[sextet as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes that [`base64`] wrote so; `None` for what it never writes.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let coded = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - coded.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(coded.len() * 3 / 4);
    for chunk in coded.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for place in 0..4 {
            let sextet = match chunk.get(place) {
                Some(coded) => ALPHABET.iter().position(|letter| letter == coded)?,
                None => 0,
            };
            bits = bits << 6 | u32::try_from(sextet).ok()?;
        }
        // Eight of each six bits begun are whole.
        bytes.extend_from_slice(&bits.to_be_bytes()[1..][..chunk.len() * 6 / 8]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).as_deref(), Some(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&base64(&all)), Some(all));
        for nothing in ["Zg", "Zg=", "Z===", "Zg==Zg==", "Zm 9", "Zm9vY"] {
            assert_eq!(from_base64(nothing), None, "{nothing}");
        }
    }
}
