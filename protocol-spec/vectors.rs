//! Reads the vectors, for the tests and for the fuzz seeds. README.md describes the format.

use std::path::Path;
use std::{fs, io};

use serde::Deserialize;
use serde_json::Value;

/// Every vector of every file in a directory, the files in the order of their names.
pub(crate) fn all(directory: &str) -> io::Result<Vec<Vector>> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();

    let mut vectors = Vec::new();
    for path in paths {
        vectors.extend(file(&path)?.vectors);
    }
    Ok(vectors)
}

fn file(path: &Path) -> io::Result<File> {
    let read = |path| serde_json::from_str(&fs::read_to_string(path)?).map_err(io::Error::from);
    read(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    vectors: Vec<Vector>,
}

/// Bytes, and what must come of them: `expect` or `error`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    #[serde(rename = "about")]
    _about: String,
    /// The largest block to accept; without it, as large as the format allows.
    pub(crate) max_block: Option<usize>,
    /// The largest number of variables to accept; without it, any.
    pub(crate) max_vars: Option<usize>,
    packet: Vec<Item<String>>,
    pub(crate) expect: Option<Expect>,
    /// The error's kind, offset and facts.
    pub(crate) error: Option<Value>,
    /// How many bytes tell the error.
    pub(crate) known_after: Option<usize>,
    /// Bytes arrived, and bytes that are then still needed at least.
    #[serde(default)]
    pub(crate) need: Vec<(usize, usize)>,
}

impl Vector {
    /// The bytes on the wire, body included.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for item in &self.packet {
            let (hex, times) = item.parts();
            bytes.extend(from_hex(hex)?.repeat(times));
        }
        Ok(bytes)
    }
}

fn from_hex(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = String::from_utf8_lossy(pair);
            if pair.len() < 2 {
                return Err(format!("{hex:?} has an odd number of digits"));
            }
            u8::from_str_radix(&pair, 16).map_err(|error| format!("{pair:?}: {error}"))
        })
        .collect()
}

/// A variable's name and value.
pub(crate) type Var = (Vec<u8>, Vec<u8>);

/// The outcome of a valid packet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    #[serde(default)]
    pub(crate) modifier1: u8,
    #[serde(default)]
    pub(crate) modifier2: u8,
    vars: Vec<Item<(Item<String>, Item<String>)>>,
    body: Item<String>,
}

impl Expect {
    /// The variables, in order.
    pub(crate) fn vars(&self) -> Result<Vec<Var>, String> {
        let mut vars = Vec::new();
        for item in &self.vars {
            let ((name, value), times) = item.parts();
            let var = (from_latin1(name)?, from_latin1(value)?);
            vars.extend(std::iter::repeat_n(var, times));
        }
        Ok(vars)
    }

    /// What follows the packet.
    pub(crate) fn body(&self) -> Result<Vec<u8>, String> {
        from_latin1(&self.body)
    }
}

fn from_latin1(text: &Item<String>) -> Result<Vec<u8>, String> {
    let (text, times) = text.parts();
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    Ok(bytes
        .map_err(|_| format!("{text:?} has a character above U+00FF"))?
        .repeat(times))
}

/// A thing, or how often to repeat it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item<T> {
    Once(T),
    Repeat { repeat: T, times: usize },
}

impl<T> Item<T> {
    fn parts(&self) -> (&T, usize) {
        match self {
            Self::Once(item) => (item, 1),
            Self::Repeat { repeat, times } => (repeat, *times),
        }
    }
}
