//! Writes what fuzzing begins with: each packet of `protocol-spec/vectors`, alone and on a connection, a request to
//! each application, and each option in a file of options.
//!
//! `seeds DIRECTORY` makes a directory in there for each target that has seeds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use spile::config::options;
use spile::protocol::Encoder;
use spile_fuzz::applications::MOUNTS;

#[path = "../../protocol-spec/vectors.rs"]
#[allow(
    dead_code,
    reason = "the packets are of use here, not what must come of them"
)]
mod vectors;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::args_os().nth(1).ok_or("usage: seeds DIRECTORY")?);
    let seeds = Seeds { directory };
    for vector in vectors::all(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../protocol-spec/vectors"
    ))? {
        let bytes = vector.bytes()?;
        seeds.write("decode", &vector.name, &bytes)?;
        if bytes.len() < 4000 {
            seeds.write("connection", &vector.name, &conversation(&bytes))?;
        }
    }
    for mount in MOUNTS {
        let request = Encoder::new()
            .var("REQUEST_METHOD", "POST")
            .var("PATH_INFO", mount)
            .var("CONTENT_LENGTH", "4")
            .finish()?;
        let bytes = [&request[..], b"body"].concat();
        let name = format!("request{}", mount.replace('/', "-"));
        seeds.write("connection", &name, &conversation(&bytes))?;
    }
    let numbered = (0u8..).zip(options::ALL);
    for (number, option) in numbered.filter(|(_, option)| option.key != "config") {
        let text = format!("{} = 1\n", option.key);
        seeds.write("config", option.key, &[&[number], text.as_bytes()].concat())?;
    }
    Ok(())
}

/// In one piece over a unix socket, after which nothing more comes.
fn conversation(bytes: &[u8]) -> Vec<u8> {
    [&[0b010, 0, 0, 0, 0, 0, 0], bytes].concat()
}

struct Seeds {
    directory: PathBuf,
}

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let directory = self.directory.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(Path::new(name)), bytes)
    }
}
