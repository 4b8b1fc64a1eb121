//! The network configuration on stdin: the keys every plugin shares, typed, and the whole document
//! for each plugin's own.

use bulkhead_model::{ContainerId, IfName, NetworkName};

use crate::json::{FieldError, Object, Value};
use crate::{CniError, CniResult, CniVersion, Code, Dns, Verb};

/// A network configuration.
#[derive(Clone, Debug)]
pub struct NetConf {
    /// The version spoken.
    pub version: CniVersion,
    /// The network.
    pub name: NetworkName,
    /// The plugin's own name, `type`; empty if absent.
    pub plugin_type: String,
    /// `ipam`, if it names a plugin; without one the network is layer 2 only.
    pub ipam: Option<Ipam>,
    /// `dns`, which overrides the IPAM plugin's.
    pub dns: Dns,
    /// Which attachments GC keeps; absent for every other verb.
    pub valid_attachments: ValidAttachments,
    document: Value,
}

/// The IPAM part of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ipam {
    /// The IPAM plugin to run, `ipam.type`.
    pub plugin_type: String,
}

/// An attachment the runtime says is live, in GC.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GcAttachment {
    /// `containerID`.
    pub container: ContainerId,
    /// `ifname`.
    pub interface: IfName,
}

/// The list GC is called with. A runtime that gave none must not lose every attachment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ValidAttachments {
    /// No key at all: libcni was called without a list. Collect only what is provably dead.
    #[default]
    Absent,
    /// `null`: a Go runtime gave a list without entries. Nothing of this network on this node lives.
    Null,
    /// A list, possibly empty.
    List(Vec<GcAttachment>),
}

impl NetConf {
    /// Reads a configuration for `verb`.
    ///
    /// # Errors
    /// Code 6 if `stdin` is not one JSON object, 1 if its version is not spoken or lacks `verb`, 7
    /// for a shared key that is missing or wrong.
    pub fn parse(verb: Verb, stdin: &[u8]) -> Result<Self, CniError> {
        let document = Self::document_of(stdin)?;
        let root = Object::root(&document)?;
        let version = version_of(&root)?;
        if version < verb.since() {
            return Err(CniError::new(
                Code::INCOMPATIBLE_VERSION,
                format!("config version does not allow {verb}"),
            )
            .with_details(format!(
                "config is {version}, {verb} needs {} or later",
                verb.since()
            )));
        }
        let name = root.required("name", "the network's name")?.parse()?;
        let ipam_type = match root.optional_object("ipam")? {
            Some(ipam) => ipam.optional_string("type")?.unwrap_or_default().to_owned(),
            None => String::new(),
        };
        let plugin_type = root.optional_string("type")?.unwrap_or_default().to_owned();
        Ok(Self {
            version,
            name,
            plugin_type,
            ipam: (!ipam_type.is_empty()).then_some(Ipam {
                plugin_type: ipam_type,
            }),
            dns: Dns::parse(&root)?,
            valid_attachments: match verb {
                Verb::Gc => ValidAttachments::parse(&document)?,
                _ => ValidAttachments::Absent,
            },
            document,
        })
    }

    /// The document alone, before anything in it is looked at.
    ///
    /// # Errors
    /// Code 6 if `stdin` is not one JSON object.
    pub(crate) fn document_of(stdin: &[u8]) -> Result<Value, CniError> {
        let decode = |text: String| CniError::new(Code::DECODE_FAILURE, text);
        let document = Value::parse(stdin)
            .map_err(|error| decode(format!("network configuration on stdin: {error}")))?;
        Object::root(&document)
            .map_err(|error| decode(format!("network configuration on stdin: {error}")))?;
        Ok(document)
    }

    /// The whole document, in its order.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// The outermost object, for a plugin's own keys.
    #[must_use]
    pub fn root(&self) -> Object<'_> {
        Object::root(&self.document).unwrap_or_else(|_| Object::empty(""))
    }

    /// `ipam`; empty if absent.
    ///
    /// # Errors
    /// Present and no object.
    pub fn ipam_object(&self) -> Result<Object<'_>, FieldError> {
        Ok(self
            .root()
            .optional_object("ipam")?
            .unwrap_or_else(|| Object::empty("ipam")))
    }

    /// `runtimeConfig`, on which a plugin must act; empty if absent.
    ///
    /// # Errors
    /// Present and no object.
    pub fn runtime_config(&self) -> Result<Object<'_>, FieldError> {
        let runtime = self.root().optional_object("runtimeConfig")?;
        Ok(runtime.unwrap_or_else(|| Object::empty("runtimeConfig")))
    }

    /// `args.cni`, which a plugin may ignore; empty if absent.
    ///
    /// # Errors
    /// Present and no object.
    pub fn args_cni(&self) -> Result<Object<'_>, FieldError> {
        let args = self.root().optional_object("args")?;
        let cni = args
            .map(|args| args.optional_object("cni"))
            .transpose()?
            .flatten();
        Ok(cni.unwrap_or_else(|| Object::empty("args.cni")))
    }

    /// `prevResult`, read when asked for: DEL and GC must work without it, whatever state it is in.
    ///
    /// # Errors
    /// Present and no result (code 7).
    pub fn prev_result(&self) -> Result<Option<CniResult>, CniError> {
        match self.root().optional("prevResult") {
            Some(field) => Ok(Some(CniResult::parse(
                field.path(),
                field.value(),
                self.version,
            )?)),
            None => Ok(None),
        }
    }

    /// `prevResult` where the verb cannot do without it: CHECK, and ADD of a chained plugin.
    ///
    /// # Errors
    /// Code 7 if it is missing or no result.
    pub fn required_prev_result(&self) -> Result<CniResult, CniError> {
        self.prev_result()?.ok_or_else(|| {
            CniError::invalid_config(
                "prevResult: missing, the runtime must pass the result of ADD or of the plugin before",
            )
        })
    }
}

/// The configuration's version; 0.1.0 if it says none.
pub(crate) fn version_of(root: &Object<'_>) -> Result<CniVersion, CniError> {
    match root.optional_string("cniVersion")? {
        None | Some("") => Ok(CniVersion::DEFAULT),
        Some(text) => text
            .parse()
            .map_err(|_| CniError::incompatible_version(text)),
    }
}

impl ValidAttachments {
    /// `cni.dev/valid-attachments`, or `cni.dev/attachments`, as the tag of 1.1.0 called it.
    fn parse(document: &Value) -> Result<Self, FieldError> {
        const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let Some((key, value)) = KEYS.iter().find_map(|key| Some((key, document.get(key)?))) else {
            return Ok(Self::Absent);
        };
        if *value == Value::Null {
            return Ok(Self::Null);
        }
        let attachment = |item: &crate::json::Field<'_>| {
            let object = item.object()?;
            Ok(GcAttachment {
                container: object.required("containerID", "a container id")?.parse()?,
                interface: object.required("ifname", "an interface name")?.parse()?,
            })
        };
        let items = Object::root(document)?.items(key)?;
        Ok(Self::List(
            items
                .iter()
                .map(attachment)
                .collect::<Result<_, FieldError>>()?,
        ))
    }

    /// Whether the runtime says the attachment lives; `None` if it gave no list at all.
    #[must_use]
    pub fn contains(&self, container: &ContainerId, interface: &IfName) -> Option<bool> {
        match self {
            Self::Absent => None,
            Self::Null => Some(false),
            Self::List(list) => Some(
                list.iter()
                    .any(|one| one.container == *container && one.interface == *interface),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(verb: Verb, text: &str) -> (u32, String) {
        let error = NetConf::parse(verb, text.as_bytes()).unwrap_err();
        (error.code.0, error.to_string())
    }

    #[test]
    fn defaults_and_case_are_gos() {
        let conf =
            NetConf::parse(Verb::Add, br#"{"NAME":"n","Type":"t","IPAM":{"TYPE":"i"}}"#).unwrap();
        assert_eq!(conf.version, CniVersion::V0_1_0);
        assert_eq!((conf.name.as_str(), conf.plugin_type.as_str()), ("n", "t"));
        assert_eq!(conf.ipam.unwrap().plugin_type, "i");
    }

    #[test]
    fn a_network_without_an_ipam_type_is_layer_2() {
        for ipam in [
            "",
            r#","ipam":{}"#,
            r#","ipam":null"#,
            r#","ipam":{"type":""}"#,
        ] {
            let text = format!("{{\"name\":\"n\"{ipam}}}");
            assert_eq!(
                NetConf::parse(Verb::Add, text.as_bytes()).unwrap().ipam,
                None
            );
        }
    }

    #[test]
    fn a_refused_configuration_has_its_code() {
        assert_eq!(refused(Verb::Add, "").0, 6);
        assert_eq!(refused(Verb::Add, "[]").0, 6);
        assert_eq!(refused(Verb::Add, r#"{"name":"n"} x"#).0, 6);
        assert_eq!(
            refused(Verb::Add, r#"{"cniVersion":"1.2.0","name":"n"}"#).0,
            1
        );
        assert_eq!(
            refused(Verb::Add, r#"{"cniVersion":"1.0.0"}"#),
            (7, "name: missing, set it to the network's name".into())
        );
        assert_eq!(refused(Verb::Add, r#"{"name":"a/b"}"#).0, 7);
        assert_eq!(
            refused(Verb::Add, r#"{"name":7}"#),
            (7, "name: 7 is not a string".into())
        );
        assert_eq!(refused(Verb::Add, r#"{"name":""}"#).0, 7);
    }

    #[test]
    fn a_version_without_the_verb_is_code_1() {
        assert_eq!(
            refused(Verb::Gc, r#"{"cniVersion":"1.0.0","name":"n"}"#),
            (
                1,
                "config version does not allow GC; config is 1.0.0, GC needs 1.1.0 or later".into()
            )
        );
        assert_eq!(
            refused(Verb::Status, r#"{"cniVersion":"0.4.0","name":"n"}"#).0,
            1
        );
        assert_eq!(
            refused(Verb::Check, r#"{"cniVersion":"0.3.1","name":"n"}"#).0,
            1
        );
        assert!(NetConf::parse(Verb::Check, br#"{"cniVersion":"0.4.0","name":"n"}"#).is_ok());
    }

    #[test]
    fn absent_null_and_empty_lists_differ() {
        let list = |keys: &str| {
            let text = format!("{{\"cniVersion\":\"1.1.0\",\"name\":\"n\"{keys}}}");
            NetConf::parse(Verb::Gc, text.as_bytes())
                .unwrap()
                .valid_attachments
        };
        let one = r#"[{"containerID":"c","ifname":"eth0"}]"#;
        assert_eq!(list(""), ValidAttachments::Absent);
        assert_eq!(
            list(r#","cni.dev/valid-attachments":null"#),
            ValidAttachments::Null
        );
        assert_eq!(
            list(r#","cni.dev/valid-attachments":[]"#),
            ValidAttachments::List(vec![])
        );
        let both = list(&format!(
            r#","cni.dev/attachments":[],"cni.dev/valid-attachments":{one}"#
        ));
        let (c, eth0, eth1) = (
            "c".parse().unwrap(),
            "eth0".parse().unwrap(),
            "eth1".parse().unwrap(),
        );
        assert_eq!(both.contains(&c, &eth0), Some(true));
        assert_eq!(both.contains(&c, &eth1), Some(false));
        assert_eq!(list(&format!(r#","cni.dev/attachments":{one}"#)), both);
        assert_eq!(ValidAttachments::Absent.contains(&c, &eth0), None);
    }

    #[test]
    fn a_broken_prev_result_is_seen_only_by_who_asks() {
        let conf = NetConf::parse(Verb::Del, br#"{"name":"n","prevResult":7}"#).unwrap();
        assert_eq!(conf.prev_result().unwrap_err().code, Code::INVALID_CONFIG);
        let conf = NetConf::parse(Verb::Del, br#"{"name":"n","prevResult":null}"#).unwrap();
        assert_eq!(conf.prev_result(), Ok(None));
        assert_eq!(
            conf.required_prev_result().unwrap_err().code,
            Code::INVALID_CONFIG
        );
    }
}
