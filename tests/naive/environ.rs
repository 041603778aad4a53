//! What an application sees of variables, and how a packet of variables is written.

/// A variable's name and value.
pub type Var = (Vec<u8>, Vec<u8>);

/// Never seen by an application, in no spelling.
const HIDDEN: [&str; 3] = ["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"];

/// Headers that are no lists.
const SINGLETONS: [&str; 14] = [
    "HTTP_AGE",
    "HTTP_AUTHORIZATION",
    "HTTP_DATE",
    "HTTP_EXPECT",
    "HTTP_FROM",
    "HTTP_HOST",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_RANGE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_MAX_FORWARDS",
    "HTTP_ORIGIN",
    "HTTP_RANGE",
    "HTTP_REFERER",
    "HTTP_USER_AGENT",
];

/// The variables as an application sees them: each name once, where it came first.
pub fn seen(vars: &[Var]) -> Vec<Var> {
    let mut seen: Vec<Var> = Vec::new();
    for (name, value) in vars {
        let spelt_right: Vec<u8> = name
            .to_ascii_uppercase()
            .into_iter()
            .map(|byte| if byte == b'-' { b'_' } else { byte })
            .collect();
        if HIDDEN.iter().any(|hidden| hidden.as_bytes() == spelt_right) {
            continue;
        }
        let Some((_, old)) = seen.iter_mut().find(|(other, _)| other == name) else {
            seen.push((name.clone(), value.clone()));
            continue;
        };
        let is_header = name.starts_with(b"HTTP_");
        let is_list = is_header && !SINGLETONS.iter().any(|one| one.as_bytes() == name);
        *old = match (is_list, name == b"HTTP_COOKIE") {
            (true, true) => [old, &b"; "[..], value].concat(),
            (true, false) => [old, &b", "[..], value].concat(),
            (false, _) => value.clone(),
        };
    }
    seen
}

/// The value of a variable among those.
pub fn get<'a>(seen: &'a [Var], name: &[u8]) -> Option<&'a [u8]> {
    let var = seen.iter().find(|(other, _)| other == name);
    var.map(|(_, value)| &value[..])
}

/// Variables as they come on the wire, as many of them as fit a packet; those without a name are left out.
pub fn block(vars: &mut Vec<Var>) -> Vec<u8> {
    vars.retain(|(name, _)| !name.is_empty());
    let mut block = Vec::new();
    let mut fitting = 0;
    for (name, value) in vars.iter() {
        if block.len() + 4 + name.len() + value.len() > 65535 {
            break;
        }
        for part in [name, value] {
            block.push((part.len() % 256) as u8);
            block.push((part.len() / 256) as u8);
            block.extend(part);
        }
        fitting += 1;
    }
    vars.truncate(fitting);
    block
}
