use std::collections::BTreeMap;
use std::ffi::OsString;

use super::foreign::{self, Form};
use super::{Given, Layer, Mistake, Place, list, options};

/// What the names of all variables begin with.
const PREFIX: &str = "SPILE_";

impl Layer {
    /// Options from environment variables, `SPILE_SOCKET_MODE` and the like. An empty variable counts as not set,
    /// since many tools cannot unset one. Values of an option that repeats are separated by line ends, else by commas.
    ///
    /// Another variable is doubted if its name is near to one of these. It may be the application's own all the same.
    pub fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            match name.into_string() {
                Ok(name) if name.starts_with(PREFIX) && !value.is_empty() => {
                    ours.insert(name, value);
                }
                _ => {}
            }
        }
        let mut layer = Self::default();
        for option in options::ALL {
            let Some((name, value)) = ours.remove_entry(option.variable) else {
                continue;
            };
            let place = Place::Variable(name);
            match value.into_string() {
                Ok(text) if option.repeats => {
                    for text in list::split(option, &text) {
                        let place = place.clone();
                        layer.add(option, Given { text, place });
                    }
                }
                Ok(text) => layer.add(option, Given { text, place }),
                Err(_) => layer.mistakes.push(Mistake {
                    place,
                    what: "the value is not UTF-8".to_owned(),
                    cure: "set it to a text in UTF-8, or unset it".to_owned(),
                }),
            }
        }
        layer.doubts = ours.into_keys().filter_map(doubt).collect();
        layer
    }
}

/// What a variable that is no option may have been meant for.
fn doubt(name: String) -> Option<Mistake> {
    let rest = name.strip_prefix(PREFIX)?;
    if is_of_kubernetes(rest) {
        return None;
    }
    let answers = foreign::answers(rest, Form::Variable);
    let cure = match options::near(rest) {
        _ if !answers.is_empty() => answers.join("; "),
        Some(near) => format!("did you mean {}?", near.variable),
        None => return None,
    };
    Some(Mistake {
        place: Place::Variable(name),
        what: "it sets no option of spile's".to_owned(),
        cure,
    })
}

/// Tells whether Kubernetes sets such a variable in every container, for a service that is called "spile" or
/// "spile-…".
fn is_of_kubernetes(rest: &str) -> bool {
    let parts: Vec<_> = rest.split('_').collect();
    let mut end = parts.as_slice();
    while let [_, after @ ..] = end {
        match end {
            ["PORT"] | ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] => return true,
            ["PORT", number, "TCP" | "UDP" | "SCTP", ..] if number.parse::<u16>().is_ok() => {
                return true;
            }
            _ => end = after,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Layer {
        Layer::environment(
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    #[test]
    fn commas_separate_the_values_of_what_repeats() {
        let layer = environment(&[
            ("SPILE_SOCKET", "/a.sock, 127.0.0.1:0,"),
            ("SPILE_CHDIR", "/a,b"),
        ]);
        let texts = |key| {
            layer
                .get(key)
                .iter()
                .map(|given| given.text.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(texts("socket"), ["/a.sock", "127.0.0.1:0"]);
        assert_eq!(texts("chdir"), ["/a,b"]);
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        assert_eq!(environment(&[("SPILE_WORKERS", "")]).keys().count(), 0);
    }

    #[test]
    fn a_value_must_be_text() {
        let value = OsString::from_vec(vec![0xff]);
        let layer = Layer::environment([("SPILE_CHDIR".into(), value)]);
        let places: Vec<_> = layer
            .mistakes
            .iter()
            .map(|mistake| mistake.place.to_string())
            .collect();
        assert_eq!(places, ["SPILE_CHDIR"]);
    }

    #[test]
    fn a_misspelt_variable_is_doubted_and_names_the_near_one() {
        let doubts = |variables: &[(&str, &str)]| -> Vec<(String, String)> {
            let doubts = environment(variables).doubts.into_iter();
            doubts.map(|it| (it.to_string(), it.cure)).collect()
        };
        let own = |what: &str, cure: &str| (what.to_owned(), cure.to_owned());
        assert_eq!(
            doubts(&[
                ("SPILE_WORKER", "4"),
                ("SPILE_ACCESSLOG", "-"),
                ("SPILE_THREADS", "2")
            ]),
            [
                own(
                    "SPILE_ACCESSLOG: it sets no option of spile's",
                    "gunicorn's `accesslog` is SPILE_ACCESS_LOG here: `-` is standard output here too"
                ),
                own(
                    "SPILE_WORKER: it sets no option of spile's",
                    "did you mean SPILE_WORKERS?"
                ),
            ]
        );
        assert_eq!(doubts(&[("SPILE_BIND", ":8000")]).len(), 1);
        // Empty, the application's own, and another's.
        let others = [
            ("SPILE_WORKER", ""),
            ("SPILE_COLOUR", "red"),
            ("SPIEL_WORKERS", "1"),
        ];
        assert_eq!(doubts(&others), []);
    }

    #[test]
    fn what_kubernetes_sets_is_no_misspelling() {
        for name in [
            "SPILE_PORT",
            "SPILE_PORT_3031_TCP",
            "SPILE_PORT_3031_TCP_ADDR",
            "SPILE_SERVICE_HOST",
            "SPILE_SERVICE_PORT",
            "SPILE_SERVICE_PORT_UWSGI",
            "SPILE_WORKER_PORT",
            "SPILE_APP_SERVICE_HOST",
        ] {
            assert_eq!(
                environment(&[(name, "tcp://10.0.0.1:3031")]).doubts,
                [],
                "{name}"
            );
        }
        assert_eq!(environment(&[("SPILE_HOST", "10.0.0.1")]).doubts.len(), 1);
    }
}
