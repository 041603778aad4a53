use std::ffi::OsString;

use super::{Given, Layer, Mistake, Place, list, options};

impl Layer {
    /// Options from environment variables, `SPILE_SOCKET_MODE` and the like. An empty variable counts as not set,
    /// since many tools cannot unset one. Values of an option that repeats are separated by line ends, else by commas.
    ///
    /// Other variables are ignored, whatever their names: `SPILE_…` may be the application's own, and Kubernetes
    /// sets `SPILE_PORT` and the like for a service of that name.
    pub fn environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut layer = Self::default();
        for option in options::ALL {
            let name = option.variable;
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let place = Place::Variable(name.to_owned());
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
        layer
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Layer {
        Layer::environment(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.into())
        })
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
        let layer = Layer::environment(|name| {
            (name == "SPILE_CHDIR").then(|| OsString::from_vec(vec![0xff]))
        });
        let places: Vec<_> = layer
            .mistakes
            .iter()
            .map(|mistake| mistake.place.to_string())
            .collect();
        assert_eq!(places, ["SPILE_CHDIR"]);
    }
}
