//! A connection of the server, from its first byte to its end: any bytes, in any pieces, with pauses between them, and
//! an end of any kind. What comes back is nothing, a reset, or exactly one HTTP response; nothing is left behind.

#![no_main]

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use spile_fuzz::applications::{MOUNTS, router};
use spile_fuzz::naive::decoder::{self, Outcome};
use spile_fuzz::naive::environ::{Var, block, get, seen};
use spile_fuzz::reply::Reply;
use spile_fuzz::site::{BODY, End, Site, VARS};

fuzz_target!(|data: &[u8]| {
    static SITE: LazyLock<Site> = LazyLock::new(|| Site::start(router(), TIMEOUT));
    let Some(conversation) = Conversation::of(data) else {
        return;
    };
    let sent = conversation.bytes();
    let since = Instant::now();
    let answer = SITE.converse(conversation.is_over_tcp(), |client| {
        for (piece, pause) in conversation.pieces(&sent) {
            if !client.send(piece) {
                break;
            }
            pause.make();
        }
        let took = since.elapsed();
        match conversation.end() {
            Ending::Leaves => return None,
            Ending::SaysSo => client.end_sending(),
            Ending::Listens => {}
        }
        Some((client.receive(), took))
    });
    if let Some(((received, end), took)) = answer {
        check(&sent, &received, end, took < TIMEOUT);
    }
});

/// What a client may take: little, so that an input that waits for it is soon done.
const TIMEOUT: Duration = Duration::from_millis(2);

fn check(sent: &[u8], received: &[u8], end: End, is_quick: bool) {
    match decoder::decode(sent, 65535, VARS) {
        Outcome::Lacks(_) if sent.is_empty() => assert_eq!(received, b"", "nobody has asked"),
        Outcome::Lacks(_) | Outcome::Wrong(..) => {
            if let Some(reply) = Reply::of(received, end, false) {
                assert!(reply.status >= 400, "{} for half a packet", reply.status);
            }
        }
        Outcome::Packet { modifier1: 100, .. } => {
            let is_pong = received == [100, 0, 0, 1];
            assert!(is_pong || (received.is_empty() && !is_quick));
        }
        Outcome::Packet { vars, body, .. } => {
            let came = vars.len();
            let vars = seen(&vars);
            let head_only = get(&vars, b"REQUEST_METHOD") == Some(b"HEAD");
            let reply = Reply::of(received, end, head_only);
            let length = get(&vars, b"CONTENT_LENGTH").unwrap_or_default();
            let length = std::str::from_utf8(length).unwrap_or_default();
            let is_echo = matches!(get(&vars, b"PATH_INFO"), Some(b"/echo" | b"/blocking/echo"));
            let Some(reply) = reply.filter(|reply| is_echo && reply.status == 200) else {
                let is_whole = length == body.len().to_string() && body.len() as u64 <= BODY;
                let is_plain = came == vars.len() && vars.iter().all(is_plain);
                assert!(
                    !(is_quick && is_echo && is_whole && is_plain),
                    "a whole request was not served: {}",
                    received.escape_ascii()
                );
                return;
            };
            let body = &body[..length.parse().unwrap_or(0)];
            assert!(
                head_only || reply.body == body,
                "the body is not what was sent"
            );
        }
    }
}

/// Whether a variable makes no request invalid.
fn is_plain((name, value): &Var) -> bool {
    match &name[..] {
        b"PATH_INFO" | b"CONTENT_LENGTH" | b"QUERY_STRING" => true,
        b"REQUEST_METHOD" => !value.is_empty() && value.iter().all(u8::is_ascii_uppercase),
        _ => false,
    }
}

/// Bytes that say how to send, and then what.
struct Conversation<'a> {
    /// Bit 0: over TCP. Bits 1 to 3: how it ends. Bit 4: whether `wire` is to be made a request.
    control: u8,
    /// For each piece its length and the pause after it. What is left goes last.
    cuts: [u8; 6],
    wire: &'a [u8],
}

impl<'a> Conversation<'a> {
    fn of(data: &'a [u8]) -> Option<Self> {
        let (&[control, ref cuts @ ..], wire) = data.split_first_chunk::<7>()?;
        Some(Self {
            control,
            cuts: *cuts,
            wire,
        })
    }

    fn is_over_tcp(&self) -> bool {
        self.control & 1 != 0
    }

    fn end(&self) -> Ending {
        // Those that take time are rare.
        match (self.control >> 1) & 7 {
            0 => Ending::Leaves,
            7 => Ending::Listens,
            _ => Ending::SaysSo,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        if self.control & 16 == 0 {
            return self.wire.to_vec();
        }
        let structure = Unstructured::new(self.wire);
        Made::arbitrary_take_rest(structure).map_or_else(|_| Vec::new(), Made::bytes)
    }

    fn pieces<'b>(&self, mut bytes: &'b [u8]) -> Vec<(&'b [u8], Pause)> {
        let mut pieces = Vec::new();
        for cut in self.cuts.into_iter().filter(|cut| *cut != 0) {
            let length = usize::from(cut & 31).pow(2).min(bytes.len());
            let (piece, rest) = bytes.split_at(length);
            pieces.push((piece, Pause::of(cut)));
            bytes = rest;
        }
        pieces.push((bytes, Pause::None));
        pieces
    }
}

/// What a client does that has nothing more to send.
enum Ending {
    Leaves,
    /// It closes its half.
    SaysSo,
    Listens,
}

/// What comes after a piece.
enum Pause {
    None,
    Yield,
    /// Longer than a lane waits for a byte.
    Short,
    /// Longer than a client may take.
    TooLong,
}

impl Pause {
    fn of(cut: u8) -> Self {
        match cut {
            u8::MAX => Self::TooLong,
            0xc0.. => Self::Short,
            0x40.. => Self::Yield,
            _ => Self::None,
        }
    }

    fn make(&self) {
        match self {
            Self::None => {}
            Self::Yield => thread::yield_now(),
            Self::Short => thread::sleep(Duration::from_micros(150)),
            Self::TooLong => thread::sleep(TIMEOUT + Duration::from_millis(1)),
        }
    }
}

/// A request that nearly is one.
#[derive(Arbitrary, Debug)]
struct Made {
    mount: u8,
    method: u8,
    vars: Vec<(Name, Vec<u8>)>,
    /// How often the body comes.
    repeat: u8,
    /// How much longer than it is the body is said to be.
    longer: i8,
    body: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    Other(Vec<u8>),
}

impl Made {
    fn bytes(self) -> Vec<u8> {
        const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "g\0t"];
        const NAMES: [&str; 10] = [
            "CONTENT_LENGTH",
            "CONTENT_TYPE",
            "HTTP_COOKIE",
            "HTTP_EXPECT",
            "HTTP_HOST",
            "HTTP_TRANSFER_ENCODING",
            "QUERY_STRING",
            "REQUEST_METHOD",
            "SCRIPT_NAME",
            "UWSGI_FILE",
        ];
        let mut body = self.body.repeat(usize::from(self.repeat).pow(2).max(1));
        body.truncate(1_200_000);
        let length = body.len() as i64 + i64::from(self.longer);
        let mount = MOUNTS.get(usize::from(self.mount) % (MOUNTS.len() + 1));
        let method = METHODS[usize::from(self.method) % METHODS.len()];
        let mut vars: Vec<_> = [
            ("PATH_INFO", mount.unwrap_or(&"/nowhere").to_string()),
            ("REQUEST_METHOD", method.to_owned()),
            ("CONTENT_LENGTH", length.to_string()),
        ]
        .map(|(name, value)| (name.into(), value.into_bytes()))
        .into();
        vars.extend(self.vars.into_iter().map(|(name, value)| match name {
            Name::Known(number) => (NAMES[usize::from(number) % NAMES.len()].into(), value),
            Name::Other(name) => (name, value),
        }));
        let block = block(&mut vars);
        let size = (block.len() as u16).to_le_bytes();
        [&[0, size[0], size[1], 0], &block[..], &body].concat()
    }
}
