//! The request's variables as an application sees them.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use bytes::Bytes;

use crate::protocol::{self, Vars};

/// Variables by name, each name once.
///
/// The values stay where the packet put them; only what is changed on the way (a mount's SCRIPT_NAME) is kept beside.
/// Three things differ from the packet:
///
/// - Repeated client headers (`HTTP_*`) are joined with `, ` (Cookie with `; `), as nginx does since 1.23;
///   of headers that can have only one value, and of all other variables, the last one wins.
/// - `HTTP_PROXY` is left out: a program that an application starts would take it for its proxy ("httpoxy").
/// - `HTTP_CONTENT_TYPE` and `HTTP_CONTENT_LENGTH` are left out: CGI has them without the prefix
///   (RFC 3875, section 4.1.18).
///
/// What is left out is so in every spelling: in lower case, which some programs read as well, and with `-` for `_`.
#[derive(Clone, Debug, Default)]
pub struct Environ {
    vars: Vars,
    /// A byte for each variable of the packet, made of its name: a name is looked for among these first.
    tags: Vec<u8>,
    /// What replaces the packet's variables; `None` hides one.
    changed: Vec<(Bytes, Option<Bytes>)>,
}

impl Environ {
    /// The variables of a packet.
    #[must_use]
    pub fn new(mut vars: Vars) -> Self {
        let mut tags = tags_of(&vars);
        if !is_plain(&vars, &tags) {
            vars = normalised(&vars);
            tags = tags_of(&vars);
        }
        Self {
            vars,
            tags,
            changed: Vec::new(),
        }
    }

    /// Returns the value of a variable.
    ///
    /// ```
    /// # use spile::{app::Environ, protocol::Vars};
    /// let environ = Environ::new(Vars::parse(b"\x09\0PATH_INFO\x02\0/x"[..].into())?);
    /// assert_eq!(environ.get("PATH_INFO"), Some(&b"/x"[..]));
    /// assert_eq!(environ.get("SCRIPT_NAME"), None);
    /// # Ok::<(), spile::protocol::DecodeError>(())
    /// ```
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        match self.change(name) {
            Some(value) => value.as_deref(),
            None => self.sent(name),
        }
    }

    /// Returns the value of a variable that is UTF-8 and not empty.
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        let value = std::str::from_utf8(self.get(name)?).ok()?;
        (!value.is_empty()).then_some(value)
    }

    /// Returns the value of a variable, sharing the packet's memory.
    pub fn get_bytes(&self, name: impl AsRef<[u8]>) -> Option<Bytes> {
        let name = name.as_ref();
        match self.change(name) {
            Some(value) => value.clone(),
            None => self
                .sent(name)
                .map(|value| self.vars.block().slice_ref(value)),
        }
    }

    /// Returns the scheme that the client used, `http` or `https`, as the front server tells it: UWSGI_SCHEME has the
    /// last word, as under uWSGI; any other value of it says nothing. Else it is `https` where HTTPS is `on` or `1`, or
    /// REQUEST_SCHEME is `https`.
    ///
    /// ```
    /// let mut environ = spile::Environ::default();
    /// environ.set("REQUEST_SCHEME", "http");
    /// assert_eq!(environ.url_scheme(), "http");
    /// environ.set("UWSGI_SCHEME", "https");
    /// assert_eq!(environ.url_scheme(), "https");
    /// ```
    #[must_use]
    pub fn url_scheme(&self) -> &'static str {
        let schemes = ["http", "https"];
        let told = self.text("UWSGI_SCHEME").and_then(|told| {
            let mut known = schemes.into_iter();
            known.find(|scheme| told.eq_ignore_ascii_case(scheme))
        });
        told.unwrap_or_else(|| {
            let https = self.text("HTTPS");
            if https.is_some_and(|https| matches!(https, "on" | "ON" | "1"))
                || self.text("REQUEST_SCHEME") == Some("https")
            {
                "https"
            } else {
                "http"
            }
        })
    }

    /// Sets a variable, or replaces it.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.put(name.into(), Some(value.into()));
    }

    /// Removes a variable.
    pub fn remove(&mut self, name: impl Into<Bytes>) {
        self.put(name.into(), None);
    }

    /// Iterates over the variables with their values; those of the packet first, in the packet's order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            vars: self.vars.iter(),
            changed: &self.changed,
            rest: self.changed.iter(),
        }
    }

    /// Returns the variables as they came on the wire, if these are all and none was changed: for each the length of
    /// its name, in two bytes of which the lower comes first, the name, and the same for its value.
    #[must_use]
    pub fn as_sent(&self) -> Option<&[u8]> {
        self.changed.is_empty().then(|| self.vars.block().as_ref())
    }

    /// Returns the value that the packet has for a name: the last of several.
    fn sent(&self, name: &[u8]) -> Option<&[u8]> {
        let tag = tag(name);
        let mut end = self.tags.len();
        while let Some(at) = memchr::memrchr(tag, self.tags.get(..end)?) {
            match self.vars.nth(at) {
                Some((sent, value)) if sent == name => return Some(value),
                _ => end = at,
            }
        }
        None
    }

    fn put(&mut self, name: Bytes, value: Option<Bytes>) {
        match self
            .changed
            .iter_mut()
            .find(|(changed, _)| *changed == name)
        {
            Some((_, old)) => *old = value,
            None => self.changed.push((name, value)),
        }
    }

    fn change(&self, name: &[u8]) -> Option<&Option<Bytes>> {
        change(&self.changed, name)
    }
}

impl<'a> IntoIterator for &'a Environ {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The variables of an [`Environ`], one by one.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    vars: protocol::Iter<'a>,
    changed: &'a [(Bytes, Option<Bytes>)],
    rest: std::slice::Iter<'a, (Bytes, Option<Bytes>)>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let changed = self.changed;
        self.vars
            .find(|(name, _)| changed.is_empty() || change(changed, name).is_none())
            .or_else(|| {
                self.rest
                    .find_map(|(name, value)| Some((name.as_ref(), value.as_deref()?)))
            })
    }
}

fn change<'a>(changed: &'a [(Bytes, Option<Bytes>)], name: &[u8]) -> Option<&'a Option<Bytes>> {
    changed
        .iter()
        .find(|(changed, _)| changed == name)
        .map(|(_, value)| value)
}

/// Never handed to an application.
const HIDDEN: [&[u8]; 3] = [b"HTTP_PROXY", b"HTTP_CONTENT_TYPE", b"HTTP_CONTENT_LENGTH"];

/// Tells whether it is one of those, in whatever case and with `-` or `_`.
fn is_hidden(name: &[u8]) -> bool {
    let same = |byte: &u8, other: &u8| {
        byte.to_ascii_uppercase() == *other || *byte == b'-' && *other == b'_'
    };
    HIDDEN.iter().any(|hidden| {
        hidden.len() == name.len()
            && name
                .iter()
                .zip(*hidden)
                .all(|(byte, other)| same(byte, other))
    })
}

/// Headers whose grammar has no list: joining two would make nonsense of both.
const SINGLETONS: [&[u8]; 14] = [
    b"HTTP_AGE",
    b"HTTP_AUTHORIZATION",
    b"HTTP_DATE",
    b"HTTP_EXPECT",
    b"HTTP_FROM",
    b"HTTP_HOST",
    b"HTTP_IF_MODIFIED_SINCE",
    b"HTTP_IF_RANGE",
    b"HTTP_IF_UNMODIFIED_SINCE",
    b"HTTP_MAX_FORWARDS",
    b"HTTP_ORIGIN",
    b"HTTP_RANGE",
    b"HTTP_REFERER",
    b"HTTP_USER_AGENT",
];

/// Tells whether an application sees the variables as they came: nearly always.
fn is_plain(vars: &Vars, tags: &[u8]) -> bool {
    if vars.len() > FEW {
        // With this many, tags are too much alike. The hasher is seeded, so nobody can make names that collide.
        let mut names = HashSet::with_capacity(vars.len());
        return vars
            .names()
            .all(|name| names.insert(name) && !is_hidden(name));
    }
    let mut seen = Seen::default();
    // So that these get a closer look, in whatever case.
    for hidden in HIDDEN {
        for (middle, last) in [(0, 0), (0, LOWER), (LOWER, 0), (LOWER, LOWER)] {
            seen.again(tag_in_case(hidden, middle, last));
        }
    }
    let mut alike = (0..).zip(tags).filter(|(_, tag)| seen.again(**tag));
    alike.all(|(at, tag)| {
        let name = vars.nth(at).map_or(&[][..], |(name, _)| name);
        let before = tags.get(..at).unwrap_or_default();
        let is_alone = memchr::memchr(*tag, before).is_none();
        !is_hidden(name) && (is_alone || vars.names().take(at).all(|other| other != name))
    })
}

/// The bit that makes an upper-case letter a lower-case one.
const LOWER: u8 = 0x20;

/// Up to this many variables are compared with each other.
const FEW: usize = 64;

/// Returns the variables, each name once and no hidden one.
fn normalised(vars: &Vars) -> Vars {
    let mut places = HashMap::with_capacity(vars.len());
    let mut merged: Vec<(&[u8], Vec<&[u8]>)> = Vec::with_capacity(vars.len());
    for (name, value) in vars.iter().filter(|(name, _)| !is_hidden(name)) {
        let place = *places.entry(name).or_insert_with(|| {
            merged.push((name, Vec::new()));
            merged.len() - 1
        });
        if let Some((_, values)) = merged.get_mut(place) {
            values.push(value);
        }
    }
    let mut block = Vec::with_capacity(vars.block().len());
    for (name, values) in merged {
        let value = one_of(name, &values);
        for part in [name, value.as_ref()] {
            // Never longer than what it came from, which had a length for each of the parts.
            block.extend_from_slice(&(part.len() as u16).to_le_bytes());
            block.extend_from_slice(part);
        }
    }
    Vars::parse(block.into()).unwrap_or_default()
}

/// Returns the one value of a variable that may have come several times.
fn one_of<'a>(name: &[u8], values: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match values {
        [only] => Cow::Borrowed(only),
        [.., last] if !name.starts_with(b"HTTP_") || SINGLETONS.contains(&name) => {
            Cow::Borrowed(last)
        }
        values => {
            let separator: &[u8] = if name == b"HTTP_COOKIE" { b"; " } else { b", " };
            Cow::Owned(values.join(separator))
        }
    }
}

/// Returns a tag for each name; a lookup searches the tags first.
fn tags_of(vars: &Vars) -> Vec<u8> {
    vars.names().map(tag).collect()
}

/// A byte of a name, in which the names that front servers send differ as much as can be for little work.
#[inline]
fn tag(name: &[u8]) -> u8 {
    tag_in_case(name, 0, 0)
}

/// Does the same for a name in which these bits are set in the two letters that are looked at.
#[inline]
fn tag_in_case(name: &[u8], middle: u8, last: u8) -> u8 {
    let byte = |at: usize| name.get(at).copied().unwrap_or(0);
    (name.len() as u8)
        .wrapping_mul(3)
        .wrapping_add(byte(name.len() / 2) | middle)
        .wrapping_add((byte(name.len().wrapping_sub(1)) | last).wrapping_mul(13))
}

/// Which tags there were.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    fn again(&mut self, tag: u8) -> bool {
        let Some(word) = self.0.get_mut(usize::from(tag / 64)) else {
            return true;
        };
        let bit = 1 << (tag % 64);
        let again = *word & bit != 0;
        *word |= bit;
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Encoder;

    fn environ(pairs: &[(&str, &str)]) -> Environ {
        let mut encoder = Encoder::new();
        for (name, value) in pairs {
            encoder = encoder.var(name, value);
        }
        Environ::new(Vars::parse(Bytes::from(encoder.finish().unwrap()).slice(4..)).unwrap())
    }

    #[test]
    fn repeated_headers_are_joined_and_singletons_are_not() {
        let environ = environ(&[
            ("HTTP_HOST", "a"),
            ("HTTP_X_ONE", "1"),
            ("HTTP_COOKIE", "a=1"),
            ("HTTP_HOST", "b:80"),
            ("HTTP_X_ONE", "2"),
            ("HTTP_COOKIE", "b=2"),
            ("HTTP_X_ONE", "3"),
            ("SERVER_NAME", "x"),
            ("SERVER_NAME", "y"),
        ]);
        assert_eq!(environ.text("HTTP_HOST"), Some("b:80"));
        assert_eq!(environ.text("HTTP_X_ONE"), Some("1, 2, 3"));
        assert_eq!(environ.text("HTTP_COOKIE"), Some("a=1; b=2"));
        assert_eq!(environ.text("SERVER_NAME"), Some("y"));
        assert_eq!(environ.iter().count(), 4);
    }

    #[test]
    fn many_variables_are_treated_like_few() {
        let mut encoder = Encoder::new();
        for number in 0..2000 {
            encoder = encoder.var(format!("HTTP_X_{}", number % 1000), number.to_string());
        }
        encoder = encoder.var("HTTP_PROXY", "evil").var("HTTP_HOST", "a");
        let block = Bytes::from(encoder.finish().unwrap()).slice(4..);
        let environ = Environ::new(Vars::parse(block).unwrap());
        assert_eq!(environ.iter().count(), 1001);
        assert_eq!(environ.text("HTTP_X_7"), Some("7, 1007"));
        assert_eq!(environ.get("HTTP_PROXY"), None);
        assert_eq!(environ.text("HTTP_HOST"), Some("a"));
    }

    #[test]
    fn what_must_not_reach_an_application_does_not() {
        let environ = environ(&[
            ("HTTP_PROXY", "evil"),
            ("HTTP_CONTENT_LENGTH", "7"),
            ("HTTP_CONTENT_TYPE", "a/b"),
            ("A", "1"),
        ]);
        assert_eq!(environ.get("HTTP_PROXY"), None);
        assert_eq!(environ.iter().collect::<Vec<_>>(), [(&b"A"[..], &b"1"[..])]);
    }

    #[test]
    fn no_spelling_of_what_is_hidden_arrives() {
        for name in HIDDEN {
            let name = std::str::from_utf8(name).unwrap();
            let title: String = name
                .split('_')
                .map(|part| format!("{}{}", &part[..1], part[1..].to_lowercase()))
                .collect::<Vec<_>>()
                .join("_");
            for spelling in [
                name.to_owned(),
                name.to_lowercase(),
                name.replace('_', "-"),
                name.to_lowercase().replace('_', "-"),
                format!("HTTP_{}", name[5..].replace('_', "-")),
                title,
            ] {
                let few = environ(&[("A", "1"), (&spelling, "evil"), ("B", "2")]);
                assert_eq!(few.iter().count(), 2, "{spelling}");
                assert_eq!(few.get(&spelling), None);
                let mut encoder = Encoder::new().var(&spelling, "evil");
                for number in 0..100 {
                    encoder = encoder.var(format!("X{number}"), "");
                }
                let block = Bytes::from(encoder.finish().unwrap()).slice(4..);
                let many = Environ::new(Vars::parse(block).unwrap());
                assert_eq!(many.iter().count(), 100, "{spelling}");
            }
        }
        let similar = environ(&[
            ("HTTP_PROXY_X", "1"),
            ("HTTP_PROXI", "1"),
            ("XTTP_PROXY", "1"),
        ]);
        assert_eq!(similar.iter().count(), 3);
    }

    #[test]
    fn set_and_remove_replace_what_came() {
        let mut environ = environ(&[("A", "1"), ("B", "2")]);
        environ.set("A", "3");
        environ.set("C", "4");
        environ.remove("B");
        assert_eq!(
            environ.iter().collect::<Vec<_>>(),
            [(&b"A"[..], &b"3"[..]), (&b"C"[..], &b"4"[..])]
        );
        assert_eq!(environ.get_bytes("C").as_deref(), Some(&b"4"[..]));
    }
}
