//! The clusters that a user knows by name: a file in the user's configuration directory, which only `flowctl context`
//! writes. Tokens in it never reach a screen.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use flow_model::ids::PipelineName;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Which context counts, if no option says it.
pub const VARIABLE: &str = "FLOW_CONTEXT";

/// All that the file says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Contexts {
    /// The one that counts when nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<PipelineName>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<PipelineName, Context>,
}

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Context {
    /// Address of its coordinator.
    pub server: String,
    /// What proves who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The file that holds it, read at each call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The file with the certificates of those who may vouch for it, if the system does not trust them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Token {
    /// A token as it came from a variable, a file or a pipe. A header can hold printable ASCII only.
    pub fn new(text: &str, from: &str) -> Result<Self, Failure> {
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(Failure::invalid(format!("the token from {from} is empty")));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::invalid(format!("the token from {from} holds characters that a token can't have"))
                .hint("it is one word of letters, digits and ASCII marks"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token of a file, whose last line end does not belong to it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let from = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::invalid(format!("can't read the token file {from}: {error}")))?;
        Self::new(&text, &from)
    }

    /// For the header alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Contexts {
    /// What the file says; nothing if there is none.
    pub fn load() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let bad = |what: &dyn fmt::Display| {
            Failure::invalid(format!("can't read the contexts in {}: {what}", path.display()))
                .hint("correct the file, or remove it and begin with `flowctl context add`")
        };
        match fs::read_to_string(&path) {
            // The reader's own message shows the line, which may hold a token.
            Ok(text) => serde_saphyr::from_str(&text).map_err(|error| {
                let place = error.location().map_or(String::new(), |at| format!(" (line {})", at.line()));
                bad(&format_args!("it is not what flowctl writes{place}"))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(bad(&error)),
        }
    }

    /// Writes the file, which its user alone may read, whole or not at all.
    pub fn store(&self) -> Result<(), Failure> {
        let path = path().ok_or_else(|| Failure::invalid("HOME is not set, so there is no configuration directory"))?;
        let bad = |what: &dyn fmt::Display| Failure::failed(format!("can't write {}: {what}", path.display()));
        let text = serde_saphyr::to_string(self).map_err(|error| bad(&error))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(|error| bad(&error))?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| bad(&error))?;
        file.write_all(text.as_bytes()).map_err(|error| bad(&error))?;
        file.persist(&path).map_err(|error| bad(&error.error))?;
        Ok(())
    }

    /// The context of that name.
    pub fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(PipelineName::as_str).collect();
            let hint = match known.as_slice() {
                [] => "make one with `flowctl context add NAME --server URL`".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            Failure::invalid(format!("no context \"{name}\"")).hint(hint)
        })
    }
}

impl Context {
    /// Its token, if it has one.
    pub fn token(&self) -> Result<Option<Token>, Failure> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Token::new(&token.0, "the context").map(Some),
            (None, Some(file)) => Token::read(file).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Where the file is; none without a home (XDG Base Directory Specification).
fn path() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".config"));
    set("XDG_CONFIG_HOME").or_else(home).map(|config| config.join("flow/contexts.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown_and_fit_into_a_header() {
        let token = Token::new("s3cret\n", "a test").expect("a good token");
        assert_eq!((token.reveal(), format!("{token:?}").as_str()), ("s3cret", "…"));
        for bad in ["", "\n", "a b", "a\r\nx-other: 1", "ä"] {
            assert!(Token::new(bad, "a test").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_file_reads_back() {
        let context =
            Context { server: "http://x:1".into(), token: Some(Token("t".into())), token_file: None, ca: None };
        let name = PipelineName::new("prod").expect("a name");
        let all = Contexts { current: Some(name.clone()), contexts: BTreeMap::from([(name, context)]) };
        let text = serde_saphyr::to_string(&all).expect("YAML");
        let again: Contexts = serde_saphyr::from_str(&text).expect("the same");
        assert_eq!(again.get("prod").expect("it is there").server, "http://x:1");
        let failure = again.get("test").expect_err("it is not");
        assert_eq!(failure.hint.as_deref(), Some("there are: prod"));
    }
}
