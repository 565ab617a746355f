//! Times as others write them: RFC 3339 and numbers since 1970. Nothing is allocated.

use yagura_event::clock::Micros;

/// Reads an RFC 3339 time or a number since 1970 (see [`since_1970`]); `None` when it is neither.
pub fn read(text: &str) -> Option<Micros> {
    rfc3339(text.as_bytes()).or_else(|| match text.parse::<i64>() {
        Ok(number) => since_1970(number),
        Err(_) => text.parse().ok().and_then(seconds),
    })
}

/// Reads an RFC 3339 time; digits of the second beyond the sixth are cut off.
pub fn rfc3339(text: &[u8]) -> Option<Micros> {
    let (date, rest) = text.split_at_checked(11)?;
    let (clock, mut rest) = rest.split_at_checked(8)?;
    if date[4] != b'-' || date[7] != b'-' || !matches!(date[10], b'T' | b't' | b' ') {
        return None;
    }
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (year, month, day) = (two(date, 0)? * 100 + two(date, 2)?, two(date, 5)?, two(date, 8)?);
    let (hour, minute, second) = (two(clock, 0)?, two(clock, 3)?, two(clock, 6)?);
    // A leap second is the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut micros = 0;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let mut unit = 100_000;
        for digit in &fraction[..digits.min(6)] {
            micros += i64::from(digit - b'0') * unit;
            unit /= 10;
        }
        rest = &fraction[digits..];
    }
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(rest, 1)?, two(rest, 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'+' { 60 } else { -60 }
        }
        _ => return None,
    };
    let seconds = days(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * 1_000_000 + micros)
}

/// A whole number since 1970: seconds below 10^11, milliseconds below 10^14, microseconds below 10^17,
/// nanoseconds from there on. So every time from 1973 to 5138 is read in the unit in which it was meant.
pub fn since_1970(number: i64) -> Option<Micros> {
    Some(match number.unsigned_abs() {
        0..100_000_000_000 => number * 1_000_000,
        100_000_000_000..100_000_000_000_000 => number * 1000,
        100_000_000_000_000..100_000_000_000_000_000 => number,
        _ => number.div_euclid(1000),
    })
}

/// A number with a fraction since 1970: seconds, or a larger unit's whole ones as in [`since_1970`].
pub fn seconds(number: f64) -> Option<Micros> {
    match number.abs() {
        size if size < 1e11 => Some((number * 1e6).round() as Micros),
        size if size < 9.2e18 => since_1970(number as i64),
        _ => None,
    }
}

/// Two digits.
#[inline]
fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar; `None` when there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yagura_event::clock;

    use super::*;

    #[test]
    fn numbers_are_read_in_the_unit_in_which_they_were_meant() {
        let at = 1_793_689_201_123_456;
        for text in ["1793689201.123456", "1793689201123456", "1793689201123456789"] {
            assert_eq!(read(text), Some(at), "{text}");
        }
        assert_eq!(read("1793689201"), Some(1_793_689_201_000_000));
        assert_eq!(read("1793689201123"), Some(1_793_689_201_123_000));
        assert_eq!(read("-1"), Some(-1_000_000));
        for text in ["", "yesterday", "inf", "NaN", "1e300", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_are_those_of_chrono(time in -62_000_000_000_000_000_i64..250_000_000_000_000_000, minutes in -1439_i32..1440) {
            let text = clock::rfc3339(time);
            prop_assert_eq!(rfc3339(text.as_bytes()), Some(time));
            let zone = chrono::FixedOffset::east_opt(minutes * 60).expect("a zone");
            if let Some(at) = chrono::DateTime::from_timestamp_micros(time) {
                let text = at.with_timezone(&zone).to_rfc3339();
                prop_assert_eq!(rfc3339(text.as_bytes()), clock::parse_rfc3339(&text), "{}", text);
            }
        }

        #[test]
        fn nothing_that_is_no_time_is_read_as_one(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}[.0-9]{0,4}[Z+][0-9:]{0,5}|.*") {
            let ours = rfc3339(text.as_bytes());
            let theirs = clock::parse_rfc3339(&text);
            prop_assert!(ours == theirs, "{}: {:?} and {:?}", text, ours, theirs);
        }
    }
}
