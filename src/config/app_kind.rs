//! The kinds of applications that a URL names: `static://public`.

/// Those that are served.
pub(super) const KINDS: [&str; 4] = ["wsgi", "static", "echo", "hello"];

/// Those that are not served yet, and what to do instead.
const NOT_YET: [(&str, &str); 6] = [
    (
        "asgi",
        "serve it with an ASGI server and have nginx send its paths there with proxy_pass, or name a WSGI application",
    ),
    (
        "paste",
        "write a module with `from paste.deploy import loadapp` and \
         `application = loadapp(\"config:/srv/app/production.ini\")`, and name that",
    ),
    ("uwsgi", BY_UWSGI_PASS),
    ("suwsgi", BY_UWSGI_PASS),
    ("http", BY_PROXY_PASS),
    ("https", BY_PROXY_PASS),
];

const BY_UWSGI_PASS: &str =
    "have nginx send these paths there: give them a location with uwsgi_pass";

const BY_PROXY_PASS: &str =
    "have nginx send these paths there: give them a location with proxy_pass";

/// What to do about a kind that is not served yet; `None` for another word.
pub(super) fn instead(kind: &str) -> Option<&'static str> {
    let known = NOT_YET.iter().find(|(known, _)| *known == kind);
    known.map(|(_, instead)| *instead)
}

/// All of them, for a misspelt one.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    let not_yet = NOT_YET.iter().map(|(kind, _)| *kind);
    KINDS.into_iter().chain(not_yet)
}

/// A URL's kind, and what follows the `://`. What stands in the parentheses of a call makes no URL.
pub(super) fn url(text: &str) -> Option<(&str, &str)> {
    text.split_once("://")
        .filter(|(kind, _)| !kind.contains('('))
}
