//! Numbers, times and foreign text as a narrow column of a terminal shows them.

pub(super) use super::canvas::width;

/// What stands for a value that is not known.
pub(super) const UNKNOWN: &str = "–";

/// As `99999`, `123k`, `1.2M`.
pub(super) fn count(number: u64) -> String {
    if number < 100_000 {
        number.to_string()
    } else {
        scaled(number as f64, 1000.0, &["", "k", "M", "G", "T"])
    }
}

/// Events a second: `0.4`, `412`, `1.2M`.
pub(super) fn rate(number: f64) -> String {
    if number < 99.95 {
        format!("{number:.1}")
    } else {
        count(number.round() as u64)
    }
}

/// Bytes in units of 1024: `512`, `48.1M`, `1.2G`.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &["", "K", "M", "G", "T"])
}

/// A part of a whole: `73%`.
pub(super) fn percent(part: f64) -> String {
    format!("{:.0}%", part * 100.0)
}

/// A time of any length in at most six places: `0.31ms`, `48ms`, `1.2s`, `5m03s`, `3h04m`, `3d04h`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60);
    match seconds {
        s if s < 0.000_995 => format!("{:.2}ms", s * 1e3),
        s if s < 0.009_95 => format!("{:.1}ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0}ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1}s"),
        _ if whole < 60 => format!("{whole}s"),
        _ if whole < 3600 => format!("{minutes}m{:02}s", whole % 60),
        _ if whole < 86400 => format!("{hours}h{minutes:02}m"),
        _ if days < 100 => format!("{days}d{hours:02}h"),
        _ => format!("{days}d"),
    }
}

fn scaled(number: f64, base: f64, units: &[&str]) -> String {
    let (mut number, mut unit) = (number.max(0.0), "");
    for larger in units {
        unit = larger;
        // 999.5 would be written with four digits.
        if number < base - 0.5 {
            break;
        }
        if Some(larger) != units.last() {
            number /= base;
        }
    }
    if number < 99.95 && !unit.is_empty() && number.fract() > 0.0 {
        format!("{number:.1}{unit}")
    } else {
        format!("{number:.0}{unit}")
    }
}

/// Returns the text with everything escaped that a terminal would act on, or that shows as nothing.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => safe.push(character),
            other => safe.extend(other.escape_debug()),
        }
    }
    safe
}

/// Returns the text, or its beginning and `…` if it is wider than `most`.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let (mut kept, mut taken) = (String::new(), 0);
    for character in text.chars() {
        let wide = width(character.encode_utf8(&mut [0; 4]));
        // One column is the ellipsis'.
        if taken + wide >= most {
            break;
        }
        kept.push(character);
        taken += wide;
    }
    if most > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_narrow() {
        assert_eq!(
            [0, 99_999, 100_000, 1_230_000, u64::MAX].map(count),
            ["0", "99999", "100k", "1.2M", "18446744T"]
        );
        assert_eq!(
            [0.0, 0.44, 99.96, 412.3, 250_000.0].map(rate),
            ["0.0", "0.4", "100", "412", "250k"]
        );
        let mib = 1024.0 * 1024.0;
        assert_eq!(
            [
                0.0,
                512.0,
                1024.0,
                1500.0,
                48.1 * mib,
                120.5 * mib,
                1023.9 * mib
            ]
            .map(bytes),
            ["0", "512", "1K", "1.5K", "48.1M", "120M", "1.0G"]
        );
    }

    #[test]
    fn times_of_any_length() {
        let times = [
            (0.0, "0.00ms"),
            (0.000_31, "0.31ms"),
            (0.0031, "3.1ms"),
            (0.048, "48ms"),
            (0.999_9, "1.0s"),
            (1.24, "1.2s"),
            (42.7, "42s"),
            (303.0, "5m03s"),
            (11_040.0, "3h04m"),
            (273_600.0, "3d04h"),
            (1e7, "115d"),
        ];
        for (seconds, expected) in times {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        assert_eq!(
            printable("GET /\u{1b}[2J\r\n\u{9b}\u{202e}é\"\\"),
            "GET /\\u{1b}[2J\\r\\n\\u{9b}\\u{202e}é\"\\"
        );
    }

    #[test]
    fn a_cut_is_seen_and_counts_columns() {
        assert_eq!(cut("GET /", 5), "GET /");
        assert_eq!(cut("GET /report", 6), "GET /…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }
}
