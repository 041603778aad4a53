//! What holds for all variables and all mounts: what the naive models say.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use spile::app::{Environ, Handler, Router};
use spile::protocol::Vars;
use spile::{Request, Response};

mod naive;

use naive::environ::{Var, block, get, seen};
use naive::router::{Routed, bare, route};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Lists are joined in the order they came, cookies by semicolons; of what has one value the last wins; what
    /// must not reach an application is gone. With few variables and with many, which are looked at in other ways.
    #[test]
    fn repeated_headers_are_joined(vars in prop_oneof![vec(var(), 0..12), vec(var(), 60..120)]) {
        let mut vars = vars;
        let environ = Environ::new(Vars::parse(Bytes::from(block(&mut vars)))?);
        let model = seen(&vars);
        let found: Vec<Var> = environ
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        prop_assert_eq!(found, model.clone());
        for (name, _) in &vars {
            prop_assert_eq!(environ.get(name), get(&model, name));
        }
    }

    /// The longest prefix that ends at a slash takes the request, in whatever order they were mounted; SCRIPT_NAME
    /// and PATH_INFO together stay what they were.
    #[test]
    fn the_longest_mount_takes_a_request(
        prefixes in vec(path(), 0..6),
        script_name in option::of(path()),
        path_info in option::of(path()),
    ) {
        let mut router = Router::new();
        let mut mounted: Vec<String> = Vec::new();
        for prefix in prefixes {
            let application = Arc::new(|_: Request| async { Response::new() });
            let taken = mounted.iter().any(|other| bare(other) == bare(&prefix));
            let outcome = router.mount(&prefix, Handler::Async(application));
            prop_assert_eq!(outcome.is_err(), taken, "{}", prefix);
            if !taken {
                mounted.push(bare(&prefix).to_owned());
            }
        }
        let mut environ = Environ::default();
        for (name, value) in [("SCRIPT_NAME", &script_name), ("PATH_INFO", &path_info)] {
            if let Some(value) = value {
                environ.set(name, value.clone());
            }
        }
        let number = router.route(&mut environ).map(|(number, _)| number);
        let value = |name| environ.get(name).unwrap_or_default().to_vec();
        let found = number.and_then(|number| router.prefixes().nth(number)).map(|prefix| Routed {
            prefix: bare(prefix).to_owned(),
            script_name: value("SCRIPT_NAME"),
            path_info: value("PATH_INFO"),
        });
        let bytes = |text: &'_ Option<String>| text.clone().map(String::into_bytes);
        let (above, path) = (bytes(&script_name), bytes(&path_info));
        let expected = route(&mounted, above.as_deref(), path.as_deref());
        prop_assert_eq!(&found, &expected);

        if let Some(Routed { prefix, script_name, path_info }) = found {
            let (above, path) = (above.unwrap_or_default(), path.unwrap_or_default());
            let sum = [script_name, path_info].concat();
            let said_twice = above == prefix.as_bytes() && sum == path;
            prop_assert!(said_twice || sum == [above, path].concat());
        }
    }
}

/// Variables of which many have the same name.
fn var() -> impl Strategy<Value = Var> {
    let known = select(vec![
        "CONTENT_TYPE",
        "HTTP_ACCEPT",
        "HTTP_AUTHORIZATION",
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "HTTP_COOKIE",
        "HTTP_HOST",
        "HTTP-PROXY",
        "Http_Content-Length",
        "HTTP_PROXY",
        "HTTP_X_FORWARDED_FOR",
        "SERVER_NAME",
    ]);
    let name = prop_oneof![
        4 => known.prop_map(|name| name.as_bytes().to_vec()),
        4 => (0..90u8).prop_map(|number| format!("HTTP_X_{number}").into_bytes()),
        1 => vec(any::<u8>(), 1..12),
    ];
    (name, vec(any::<u8>(), 0..12))
}

/// Paths that begin alike.
fn path() -> impl Strategy<Value = String> {
    let part = select(vec!["/", "/a", "/ab", "/a/b", "b", "/.."]);
    vec(part, 0..5).prop_map(|parts| match parts.concat() {
        path if path.is_empty() || path.starts_with('/') => path,
        path => format!("/{path}"),
    })
}
