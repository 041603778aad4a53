//! Which mount answers a path.

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The mount's prefix as it was given.
    pub prefix: String,
    pub script_name: Vec<u8>,
    pub path_info: Vec<u8>,
}

/// The mount of the longest prefix that is the path or ends at one of its slashes; what matched moves to SCRIPT_NAME.
pub fn route(
    prefixes: &[String],
    script_name: Option<&[u8]>,
    path_info: Option<&[u8]>,
) -> Option<Routed> {
    // lighttpd may send the path as SCRIPT_NAME.
    let (script_name, path) = match (script_name, path_info) {
        (script_name, Some(path)) => (script_name.unwrap_or_default(), path),
        (script_name, None) => (&b""[..], script_name.unwrap_or_default()),
    };
    let mut best: Option<&String> = None;
    for prefix in prefixes {
        let bare = bare(prefix);
        let below = [bare, "/"].concat();
        let matches =
            bare.is_empty() || path == bare.as_bytes() || path.starts_with(below.as_bytes());
        let is_longer = best.is_none_or(|best| bare.len() > self::bare(best).len());
        if matches && is_longer {
            best = Some(prefix);
        }
    }
    let prefix = best?;
    let matched = bare(prefix).as_bytes();
    // A front server may have put the prefix there already.
    let above = if script_name == matched {
        b""
    } else {
        script_name
    };
    Some(Routed {
        prefix: prefix.clone(),
        script_name: [above, matched].concat(),
        path_info: path[matched.len()..].to_vec(),
    })
}

/// A prefix without the slashes at its end: nothing for the root.
pub fn bare(prefix: &str) -> &str {
    prefix.trim_end_matches('/')
}
