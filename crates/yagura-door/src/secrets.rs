//! Secrets out of files, and how they are compared.

use std::path::Path;

use subtle::{Choice, ConstantTimeEq};

use crate::Unusable;

/// A secret out of a file, without the line's end.
pub fn secret(file: &Path) -> Result<String, Unusable> {
    let text = std::fs::read_to_string(file).map_err(|cause| Unusable::file(file, cause))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

/// The lines of a file of secrets, without empty ones and comments (`#`); there is at least one. `what` a line holds
/// is said when there is none.
pub fn lines(file: &Path, what: &str) -> Result<Vec<String>, Unusable> {
    let text = secret(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_string).collect();
    match lines.is_empty() {
        true => Err(Unusable::file(file, format!("it holds no {what}; write one a line"))),
        false => Ok(lines),
    }
}

/// The token of an `Authorization` header (RFC 6750, section 2.1); empty without one.
pub fn bearer(header: &[u8]) -> &[u8] {
    match header.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"Bearer ") => header[7..].trim_ascii(),
        _ => b"",
    }
}

/// Which of the secrets was given. All are compared, each in constant time.
pub fn same<'a>(secrets: impl IntoIterator<Item = &'a str>, given: &[u8]) -> Option<usize> {
    let mut found = None;
    for (place, secret) in secrets.into_iter().enumerate() {
        let same: Choice = secret.as_bytes().ct_eq(given);
        if bool::from(same) {
            found = Some(place);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_lines_and_the_scheme_is_in_any_case() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        std::fs::write(&file, "# for the SIEM\nfirst\n\n second \n").expect("a file");
        let all = lines(&file, "token").expect("tokens");
        assert_eq!(all, ["first", "second"]);
        let find = |header: &str| same(all.iter().map(String::as_str), bearer(header.as_bytes()));
        assert_eq!(find("Bearer second"), Some(1));
        assert_eq!(find("bearer  first"), Some(0));
        for wrong in ["", "Bearer", "Bearer ", "Basic first", "first", "Bearer firs", "Bearer first2"] {
            assert_eq!(find(wrong), None, "{wrong}");
        }
        std::fs::write(&file, "# none\n").expect("a file");
        let error = lines(&file, "token").expect_err("none").to_string();
        assert!(error.ends_with("tokens: cannot be read: it holds no token; write one a line"), "{error}");
    }
}
