use std::ops::RangeInclusive;
use std::time::Duration;

use super::Cure;

/// A whole number within `range`, in digits alone.
pub(super) fn whole<T>(text: &str, range: RangeInclusive<usize>) -> Result<T, NumberError>
where
    T: TryFrom<usize>,
{
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| digits && range.contains(number));
    number
        .and_then(|number: usize| T::try_from(number).ok())
        .ok_or_else(|| NumberError::Whole {
            text: text.to_owned(),
            least: *range.start(),
            most: *range.end(),
        })
}

/// A time in seconds, with a fraction if need be, of at least `least` and at most [`MOST_SECONDS`].
pub(crate) fn seconds(text: &str, least: f64) -> Result<Duration, NumberError> {
    let error = || NumberError::Seconds {
        text: text.to_owned(),
        above_zero: least > 0.0,
    };
    let seconds: f64 = text.parse().map_err(|_| error())?;
    if !(least..=MOST_SECONDS).contains(&seconds) {
        return Err(error());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| error())
}

/// A week: longer waits are mistakes of unit.
const MOST_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// A text that is not the number an option takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not a whole number, or out of range.
    #[error("`{text}` is not a whole number from {least} to {most}")]
    Whole {
        /// The text.
        text: String,
        /// The smallest number allowed.
        least: usize,
        /// The largest number allowed.
        most: usize,
    },
    /// Not a time, or too long.
    #[error("`{text}` is not a time in seconds")]
    Seconds {
        /// The text.
        text: String,
        /// Whether 0 is out of range too.
        above_zero: bool,
    },
}

impl Cure for NumberError {
    fn cure(&self) -> String {
        match self {
            Self::Whole { least, most, .. } => {
                format!("give a number from {least} to {most}, in digits alone")
            }
            Self::Seconds { above_zero, .. } => format!(
                "give a number of seconds without a unit, such as 30 or 0.5; {} a week at most",
                if *above_zero {
                    "more than 0,"
                } else {
                    "0 for none,"
                }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_a_range() {
        assert_eq!(whole("1", 1..=9), Ok(1));
        assert_eq!(whole("9", 1..=9), Ok(9));
        for text in [
            "",
            "0",
            "10",
            "-1",
            "+1",
            "1.0",
            "one",
            "99999999999999999999",
        ] {
            assert_eq!(
                whole::<usize>(text, 1..=9),
                Err(NumberError::Whole {
                    text: text.to_owned(),
                    least: 1,
                    most: 9
                })
            );
        }
    }

    #[test]
    fn times_are_seconds_and_fractions() {
        assert_eq!(seconds("0.25", 0.001), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0", 0.0), Ok(Duration::ZERO));
        for text in ["0", "-1", "30s", "", "nan", "inf", "1e9"] {
            assert!(seconds(text, 0.001).is_err(), "{text}");
        }
    }
}
