//! What is measured: the parts of a request that are spile's own and need neither a socket nor Python.
//!
//! `instructions.rs` counts them and `decode.rs` times them. All work on one captured request of nginx, `nginx-get` of
//! `protocol-spec/vectors`, and each includes freeing what it made.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod fastcgi;
mod http_head;
#[path = "../../protocol-spec/vectors.rs"]
#[allow(dead_code)]
mod vectors;

use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use spile::{
    Body, Environ, Request, Response,
    app::{Content, Handler, Router, builtin},
    protocol::{Decoder, Packet, Progress, ResponseHead},
};
use vectors::Var;

/// One thing to measure.
pub(crate) struct Case {
    /// Its name in the baseline and on the command line.
    pub(crate) name: &'static str,
    runs: Box<dyn Fn(usize) -> Run>,
}

/// Does the work once a call.
pub(crate) type Run = Box<dyn FnMut()>;

impl Case {
    /// The work, with its input made ahead for so many calls; after those it does nothing.
    pub(crate) fn runs(&self, count: usize) -> Run {
        (self.runs)(count)
    }

    fn new<I: 'static, O>(
        name: &'static str,
        input: impl Fn() -> I + 'static,
        work: impl Fn(I) -> O + Copy + 'static,
    ) -> Self {
        let runs = move |count| -> Run {
            let mut inputs: Vec<I> = (0..count).map(|_| input()).collect();
            Box::new(move || {
                if let Some(input) = inputs.pop() {
                    black_box(work(black_box(input)));
                }
            })
        };
        Self {
            name,
            runs: Box::new(runs),
        }
    }
}

/// All of them. The first three take the same variables out of three protocols.
pub(crate) fn all() -> Vec<Case> {
    let (packet, vars) = nginx_get();
    let params = fastcgi::encode(&vars);
    let same = http_head::encode(&vars);
    let proxied = http_head::proxied(&vars);
    let decoded = decode(received(&packet)).1;
    let environ = Environ::new(decoded.vars.clone());
    let at_root = Arc::new(router(&["/"]));
    let at_prefix = Arc::new(router(&["/", "/shop", "/flask", "/api/v2"]));
    let native = (packet.clone(), at_root.clone());
    vec![
        Case::new("decode", move || received(&packet), decode),
        Case::new("decode-fastcgi", move || received(&params), fastcgi::decode),
        Case::new("decode-http", move || received(&same), http_head::decode),
        Case::new(
            "decode-http-proxied",
            move || received(&proxied),
            http_head::decode,
        ),
        Case::new("environ", move || decoded.vars.clone(), Environ::new),
        routing("route-root", &at_root, &environ),
        routing("route-prefix", &at_prefix, &environ),
        Case::new("head-wsgi", || (), |()| wsgi_head()),
        Case::new(
            "head-native",
            || builtin::hello(Request::default()).into_inner(),
            native_head,
        ),
        Case::new(
            "native-request",
            move || (received(&native.0), native.1.clone()),
            native_request,
        ),
    ]
}

/// What a connection has received: in a buffer of its own, as the server has it.
fn received(bytes: &[u8]) -> BytesMut {
    BytesMut::from(bytes)
}

fn decode(mut received: BytesMut) -> (BytesMut, Packet) {
    match Decoder::default().decode(&mut received) {
        Ok(Progress::Packet(packet)) => (received, packet),
        other => unreachable!("{other:?}"),
    }
}

fn routing(name: &'static str, router: &Arc<Router>, environ: &Environ) -> Case {
    let (router, environ) = (router.clone(), environ.clone());
    Case::new(
        name,
        move || (router.clone(), environ.clone()),
        |(router, mut environ)| {
            let mount = router.route(&mut environ).map(|(mount, _)| mount);
            (mount, environ, router)
        },
    )
}

/// The head of a Django response, as the WSGI side makes it.
fn wsgi_head() -> Option<Vec<u8>> {
    let mut head = ResponseHead::from_status_line(b"200 OK").ok()?;
    for (name, value) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("X-Frame-Options", "DENY"),
        ("Vary", "Cookie"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    ] {
        head.push(name.as_bytes(), value.as_bytes()).ok()?;
    }
    head.set_content_length(5_432);
    Some(head.into_bytes())
}

fn native_head(response: Response) -> Option<(Vec<u8>, Bytes)> {
    let (head, body) = response.into_wire_for(false).ok()?;
    match body.into_content() {
        Content::Bytes(bytes) => Some((head.into_bytes(), bytes)),
        _ => None,
    }
}

/// All that happens to a request for `hello://` between the last byte received and the first one sent.
fn native_request(
    (received, router): (BytesMut, Arc<Router>),
) -> Option<(Vec<u8>, Bytes, Arc<Router>)> {
    let (_rest, packet) = decode(received);
    let mut environ = Environ::new(packet.vars);
    let (_, handler) = router.route(&mut environ)?;
    let Handler::Async(application) = handler else {
        return None;
    };
    let mut answer = application.call(Request::new(environ, Body::empty()));
    let Poll::Ready(response) = answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    else {
        return None;
    };
    let (head, body) = native_head(response)?;
    Some((head, body, router))
}

fn router(prefixes: &[&str]) -> Router {
    let mut router = Router::new();
    for prefix in prefixes {
        router
            .mount(prefix, Handler::Async(Arc::new(builtin::hello)))
            .unwrap();
    }
    router
}

/// A browser's GET as nginx sent it: the packet, and its 25 variables.
fn nginx_get() -> (Vec<u8>, Vec<Var>) {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-spec/vectors");
    let vector = vectors::all(vectors)
        .unwrap()
        .into_iter()
        .find(|vector| vector.name == "nginx-get")
        .unwrap();
    (
        vector.bytes().unwrap(),
        vector.expect.unwrap().vars().unwrap(),
    )
}
