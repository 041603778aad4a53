//! Configuration files of other servers, and files in other languages than TOML, by their names and by what is in them.

use std::path::Path;

/// What a file is that spile cannot read, and what to do; `None` if it may be TOML.
pub(crate) fn recognise(file: &Path, text: &str) -> Option<(&'static str, &'static str)> {
    let name = file
        .file_name()
        .and_then(|it| it.to_str())
        .unwrap_or_default();
    let extension = file
        .extension()
        .and_then(|it| it.to_str())
        .unwrap_or_default();
    if is_uwsgi(text) || name.to_lowercase().contains("uwsgi") && extension != "toml" {
        return Some((
            "is a configuration of uWSGI",
            "write its options into a spile.toml: docs/moving-from-uwsgi.md has each, and uWSGI's own files are not read yet",
        ));
    }
    Some(match extension {
        "py" => (
            "is a Python file, as gunicorn's configuration is",
            "write its settings into a spile.toml: docs/moving-from-gunicorn.md has each. An application is named without \
             an option",
        ),
        "ini" | "cfg" if !looks_like_toml(text) => (
            "is an ini file",
            "write its options into a TOML file: docs/moving-from-uwsgi.md and docs/moving-from-gunicorn.md tell how",
        ),
        "json" => ("is JSON", IS_TOML),
        "yaml" | "yml" => ("is YAML", IS_TOML),
        "xml" => ("is XML", IS_TOML),
        "env" => (
            "is a file of variables",
            "give it with --env-file, which sets them for the applications",
        ),
        _ if name == ".env" => (
            "is a file of variables",
            "give it with --env-file, which sets them for the applications",
        ),
        _ => return None,
    })
}

const IS_TOML: &str = "name a TOML file, with the long options of `spile serve --help` as its keys";

/// Tells whether the text is uWSGI's: an ini file with that section, or YAML, JSON or XML with that as its first name.
fn is_uwsgi(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().map(str::trim_end);
    if lines.any(|line| line.trim() == "[uwsgi]" || line == "uwsgi:") {
        return true;
    }
    let text = text.trim_start();
    let first = text.strip_prefix('{').map(str::trim_start);
    let is_json = first.is_some_and(|first| first.starts_with("\"uwsgi\""));
    is_json || text.starts_with('<') && text.contains("<uwsgi")
}

/// Tells whether somebody has given a TOML file another name.
fn looks_like_toml(text: &str) -> bool {
    toml::de::DeTable::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(file: &str, text: &str) -> &'static str {
        recognise(Path::new(file), text).map_or("", |(what, _)| what)
    }

    #[test]
    fn files_of_others_are_known_by_name_or_content() {
        let uwsgi = "is a configuration of uWSGI";
        assert_eq!(what("uwsgi.ini", "module = a:b\n"), uwsgi);
        assert_eq!(
            what(
                "/etc/uwsgi/apps/shop.ini",
                "; shop\n[uwsgi]\r\nmodule = a:b\n"
            ),
            uwsgi
        );
        assert_eq!(what("spile.toml", "[uwsgi]\nmodule = 'a:b'\n"), uwsgi);
        assert_eq!(what("shop.yaml", "uwsgi:\n  module: a:b\n"), uwsgi);
        assert_eq!(what("shop.json", "{ \"uwsgi\": {} }"), uwsgi);
        assert_eq!(
            what("shop.xml", "<?xml version=\"1.0\"?>\n<uwsgi id=\"a\">\n"),
            uwsgi
        );
        assert!(what("gunicorn.conf.py", "bind = ':8000'\n").contains("gunicorn"));
        assert_eq!(
            what(
                "development.ini",
                "[server:main]\nuse = egg:waitress#main\n"
            ),
            "is an ini file"
        );
        assert_eq!(what("logging.yaml", "a: 1\n"), "is YAML");
        assert_eq!(what("settings.json", "{}"), "is JSON");
        assert_eq!(what(".env", "A=1"), "is a file of variables");
    }

    #[test]
    fn toml_may_have_any_name() {
        assert_eq!(what("spile.toml", "workers = 2\n"), "");
        assert_eq!(what("spile.conf", "workers = 2\n"), "");
        assert_eq!(what("spile", "workers = \n"), "");
        assert_eq!(what("uwsgi.toml", "workers = 2\n"), "");
    }
}
