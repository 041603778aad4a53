//! The file of options, and the values that options take: any text is taken or refused with a word on what to do, and
//! what is taken can be written and read again.

#![no_main]

use std::ffi::OsString;
use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use spile::config::{
    AccessLog, AccessLogFormat, AppSpec, Config, Cure, Layer, LogFormat, LogLevel, Mistake, Mount,
    Network, Owner, SocketAddress, SocketMode, Sources, options,
};

fuzz_target!(|input: (u8, &str)| {
    let (number, text) = input;
    load(Sources {
        environment: Layer::file(Path::new("spile.toml"), text),
        ..Sources::default()
    });

    let option = &options::ALL[usize::from(number) % options::ALL.len()];
    // Those would be read.
    if !matches!(option.key, "config" | "env-file") {
        load(Sources {
            command_line: Layer::command_line([(option, text.to_owned())]),
            ..Sources::default()
        });
        let variable = (OsString::from(option.variable), OsString::from(text));
        load(Sources {
            environment: Layer::environment([variable]),
            ..Sources::default()
        });
    }
    // Any name may be doubted.
    let variable = (OsString::from(format!("SPILE_{text}")), OsString::from("1"));
    let _ = Layer::environment([variable]);

    round_trip::<AccessLog>(text);
    round_trip::<AccessLogFormat>(text);
    round_trip::<AppSpec>(text);
    round_trip::<Mount>(text);
    round_trip::<Network>(text);
    round_trip::<Owner>(text);
    round_trip::<SocketAddress>(text);
    round_trip::<SocketMode>(text);
    said(LogFormat::from_str(text).err());
    said(LogLevel::from_str(text).err());
});

/// Options become a configuration that other processes read as it is, or mistakes.
fn load(sources: Sources) {
    let sources = Sources {
        directory: PathBuf::from("/nowhere"),
        ..sources
    };
    match Config::load(sources).into_result() {
        Ok(config) => {
            let sent = serde_json::to_string(&config).expect("JSON");
            let read: Config = serde_json::from_str(&sent).expect("what was written");
            assert_eq!(read, config);
        }
        Err(mistakes) => {
            for Mistake { place, what, cure } in mistakes {
                assert!(!place.to_string().is_empty() && !what.is_empty() && !cure.is_empty());
            }
        }
    }
}

fn round_trip<T>(text: &str)
where
    T: FromStr<Err: Cure> + Display + Debug + PartialEq,
{
    match T::from_str(text) {
        Ok(value) => {
            let written = value.to_string();
            match T::from_str(&written) {
                Ok(read) => assert_eq!(read, value, "written {written:?}"),
                Err(error) => panic!("{written:?} cannot be read: {error}"),
            }
        }
        Err(error) => said(Some(error)),
    }
}

/// An error says what is wrong and what to do.
fn said<E: Cure>(error: Option<E>) {
    if let Some(error) = error {
        assert!(!error.to_string().is_empty() && !error.cure().is_empty());
    }
}
