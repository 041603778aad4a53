//! What an application sees of a request's variables, beside a naive model: what is hidden, joined, set and removed.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use spile::app::Environ;
use spile::protocol::Vars;
use spile_fuzz::naive::environ::{Var, block, get, seen};

fuzz_target!(|input: Input| {
    let mut vars: Vec<Var> = input
        .vars
        .into_iter()
        .map(|(name, value)| (name.bytes(), value))
        .collect();
    let wire = block(&mut vars);
    let mut environ = Environ::new(Vars::parse(Bytes::from(wire)).expect("a block"));
    let mut model = seen(&vars);
    same(&environ, &model);
    let again = Vars::parse(
        environ
            .as_sent()
            .expect("nothing was changed")
            .to_vec()
            .into(),
    );
    assert!(
        again.expect("a block").iter().eq(&environ),
        "as sent, it is another"
    );

    for change in input.changes {
        match change {
            Change::Set(name, value) => {
                let name = name.bytes();
                environ.set(name.clone(), value.clone());
                model.retain(|(other, _)| *other != name);
                model.push((name, value));
            }
            Change::Remove(name) => {
                let name = name.bytes();
                environ.remove(name.clone());
                model.retain(|(other, _)| *other != name);
            }
        }
    }
    let sorted = |mut vars: Vec<Var>| {
        vars.sort();
        vars
    };
    assert_eq!(sorted(all(&environ)), sorted(model.clone()));
    for (name, _) in vars.iter().chain(&model) {
        assert_eq!(environ.get(name), get(&model, name));
        assert_eq!(environ.get_bytes(name).as_deref(), get(&model, name));
    }
});

fn same(environ: &Environ, model: &[Var]) {
    assert_eq!(all(environ), model);
    for name in NAMES {
        assert_eq!(environ.get(name), get(model, name.as_bytes()), "{name}");
    }
}

fn all(environ: &Environ) -> Vec<Var> {
    environ
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

#[derive(Arbitrary, Debug)]
struct Input {
    vars: Vec<(Name, Vec<u8>)>,
    changes: Vec<Change>,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Set(Name, Vec<u8>),
    Remove(Name),
}

#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    /// A header by its number, so that there are many.
    Numbered(u8),
    Other(Vec<u8>),
}

impl Name {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Known(number) => NAMES[usize::from(number) % NAMES.len()].into(),
            Self::Numbered(number) => format!("HTTP_X_{number}").into(),
            Self::Other(name) => name,
        }
    }
}

const NAMES: [&str; 20] = [
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "HTTP_ACCEPT",
    "HTTP_AUTHORIZATION",
    "HTTP_CONTENT_LENGTH",
    "HTTP_CONTENT_TYPE",
    "HTTP_COOKIE",
    "HTTP_EXPECT",
    "HTTP_HOST",
    "HTTP-PROXY",
    "HTTP_Content-Length",
    "http_content_type",
    "Http_Proxy",
    "HTTP_PROXY",
    "HTTP_RANGE",
    "HTTP_X_FORWARDED_FOR",
    "PATH_INFO",
    "REMOTE_ADDR",
    "REQUEST_METHOD",
    "UWSGI_SCRIPT",
];
