//! Writes each packet of `protocol-spec/vectors` to a file of its own: the fuzzer's first corpus.
//!
//! `seeds DIRECTORY`

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

#[path = "../../protocol-spec/vectors.rs"]
#[allow(
    dead_code,
    reason = "the packets are of use here, not what must come of them"
)]
mod vectors;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::args_os().nth(1).ok_or("usage: seeds DIRECTORY")?);
    fs::create_dir_all(&directory)?;
    for vector in vectors::all(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../protocol-spec/vectors"
    ))? {
        fs::write(directory.join(&vector.name), vector.bytes()?)?;
    }
    Ok(())
}
