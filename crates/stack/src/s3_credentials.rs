//! Access keys of an object store.

use crate::secret::Secret;

/// An access key and its secret, as S3-compatible stores want them.
#[derive(Clone, Debug)]
pub struct S3Credentials {
    /// `aws_access_key_id`.
    pub access_key_id: String,
    /// `aws_secret_access_key`.
    pub secret_access_key: Secret,
    /// `aws_session_token`, for temporary credentials.
    pub session_token: Option<Secret>,
}

/// Why a text holds no [`S3Credentials`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum S3CredentialsError {
    /// A key of the two is not there.
    #[error("the credentials have no {0}")]
    Missing(&'static str),
}

impl S3Credentials {
    /// Reads `ACCESS_KEY:SECRET_KEY`, lines `AWS_ACCESS_KEY_ID=…` (also with `export`), or an AWS
    /// credentials file, of which the section `[default]`, else the first, counts.
    ///
    /// # Errors
    /// If the access key or its secret is missing.
    pub fn parse(text: &Secret) -> Result<Self, S3CredentialsError> {
        let text = text.expose();
        if !text.contains(['=', '\n'])
            && let Some((access, secret)) = text.trim().split_once(':')
            && !access.is_empty()
            && !secret.is_empty()
        {
            return Ok(Self {
                access_key_id: access.to_owned(),
                secret_access_key: Secret::new(secret),
                session_token: None,
            });
        }
        let section = section(text);
        let find = |key: &'static str| value(&section, key).ok_or(S3CredentialsError::Missing(key));
        Ok(Self {
            access_key_id: find("aws_access_key_id")?.to_owned(),
            secret_access_key: Secret::new(find("aws_secret_access_key")?),
            session_token: value(&section, "aws_session_token").map(Secret::new),
        })
    }
}

/// The lines that count: those of `[default]`, else of the first section, else all.
fn section(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .collect();
    let header = |line: &&str| line.starts_with('[');
    let start = lines
        .iter()
        .position(|line| line.replace(' ', "") == "[default]")
        .or_else(|| lines.iter().position(header));
    match start {
        Some(at) => lines[at + 1..]
            .iter()
            .copied()
            .take_while(|line| !header(line))
            .collect(),
        None => lines,
    }
}

fn value<'a>(lines: &[&'a str], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
            .unwrap_or(value);
        (name.trim().eq_ignore_ascii_case(key) && !unquoted.is_empty()).then_some(unquoted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let found = S3Credentials::parse(&Secret::new(text)).unwrap();
        (
            found.access_key_id,
            found.secret_access_key.expose().to_owned(),
        )
    }

    #[test]
    fn all_usual_formats_are_read() {
        let wanted = ("AKIA1".to_owned(), "s/e+c=".to_owned());
        assert_eq!(
            parsed("AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=s/e+c=\n"),
            wanted
        );
        assert_eq!(
            parsed("export AWS_ACCESS_KEY_ID='AKIA1'\nexport AWS_SECRET_ACCESS_KEY=\"s/e+c=\""),
            wanted
        );
        assert_eq!(
            parsed(
                "[other]\naws_access_key_id = X\naws_secret_access_key = Y\n[default]\n# it\naws_access_key_id = AKIA1\naws_secret_access_key = s/e+c=\n"
            ),
            wanted
        );
        assert_eq!(parsed("AKIA1:secret"), ("AKIA1".into(), "secret".into()));
    }

    #[test]
    fn a_missing_half_is_named_and_the_other_not_shown() {
        let wrong = S3Credentials::parse(&Secret::new("AWS_ACCESS_KEY_ID=AKIA1")).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "the credentials have no aws_secret_access_key"
        );
        assert!(S3Credentials::parse(&Secret::new("AKIA1:")).is_err());
    }
}
