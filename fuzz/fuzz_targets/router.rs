//! Mounts and paths, beside a naive model; and what an application sees of the path adds up to what came.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use spile::app::{Environ, MountError, Router};
use spile::{Request, Response};
use spile_fuzz::applications::native;
use spile_fuzz::naive::router::{Routed, bare, route};

fuzz_target!(|input: Input| {
    let mut router = Router::new();
    let mut mounted: Vec<String> = Vec::new();
    for prefix in input.prefixes.iter().map(Path::text) {
        let taken = mounted.iter().any(|other| bare(other) == bare(&prefix));
        let is_path = bare(&prefix).is_empty() || prefix.starts_with('/');
        match router.mount(&prefix, native(|_: Request| async { Response::new() })) {
            Ok(()) => {
                assert!(is_path && !taken, "{prefix:?} was taken");
                mounted.push(prefix);
            }
            Err(MountError::Taken { .. }) => assert!(taken, "{prefix:?} is free"),
            Err(MountError::Relative { .. }) => assert!(!is_path, "{prefix:?} is a path"),
            Err(other) => panic!("{other}"),
        }
    }
    let path = input.path.map(|path| path.text());
    let script_name = input.script_name.map(|path| path.text());
    let mut environ = Environ::default();
    for (name, value) in [("PATH_INFO", &path), ("SCRIPT_NAME", &script_name)] {
        if let Some(value) = value {
            environ.set(name, value.clone());
        }
    }

    let routed = router.route(&mut environ).map(|(number, _)| number);
    let routed = routed.map(|number| router.prefixes().nth(number).expect("it was mounted"));
    let value = |name| environ.get(name).unwrap_or_default().to_vec();
    let found = routed.map(|prefix| Routed {
        prefix: bare(prefix).to_owned(),
        script_name: value("SCRIPT_NAME"),
        path_info: value("PATH_INFO"),
    });
    let bytes = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    let (path, script_name) = (bytes(&path), bytes(&script_name));
    let expected = route(&mounted, script_name.as_deref(), path.as_deref());
    let expected = expected.map(|mut routed| {
        routed.prefix = bare(&routed.prefix).to_owned();
        routed
    });
    assert_eq!(found, expected);

    if let Some(found) = found {
        let sum = [found.script_name, found.path_info].concat();
        let (above, path) = (script_name.unwrap_or_default(), path.unwrap_or_default());
        let is_named_twice = above == found.prefix.as_bytes();
        assert!(sum == [&above[..], &path].concat() || (is_named_twice && sum == path));
    }
});

#[derive(Arbitrary, Debug)]
struct Input {
    prefixes: Vec<Path>,
    path: Option<Path>,
    script_name: Option<Path>,
}

/// A path of few different parts, so that paths often begin alike.
#[derive(Arbitrary, Debug)]
enum Path {
    Parts(Vec<u8>),
    Any(String),
}

impl Path {
    fn text(&self) -> String {
        const PARTS: [&str; 8] = ["/", "/a", "/ab", "a", "/b", "/..", "/a/b", "//"];
        match self {
            Self::Parts(numbers) => numbers
                .iter()
                .map(|number| PARTS[usize::from(*number) % PARTS.len()])
                .collect(),
            Self::Any(text) => text.clone(),
        }
    }
}
