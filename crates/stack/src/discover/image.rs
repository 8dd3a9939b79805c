//! Names of images.

/// The name of an image, taken apart: `ghcr.io/immich-app/postgres:14-vectorchord`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Everything but tag and digest, without the registry and without `library/`: `immich-app/postgres`.
    pub repository: String,
    /// The tag, if there is one.
    pub tag: Option<String>,
}

impl ImageName {
    /// Takes a name apart; every text is one. Source: the reference grammar of `distribution/reference`.
    pub fn parse(text: &str) -> Self {
        let text = text.split('@').next().unwrap_or_default();
        let (path, tag) = match text.rsplit_once(':') {
            // `registry:5000/name` has a port and no tag.
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (text, None),
        };
        let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let repository = match path.split_once('/') {
            Some((first, rest)) if is_registry(first) => rest,
            _ => path,
        };
        let repository = repository.strip_prefix("library/").unwrap_or(repository);
        Self {
            repository: repository.to_lowercase(),
            tag,
        }
    }

    /// The last part of the name: `postgres`.
    pub fn base(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// The first number of the tag, or the one after `pg`: 16 of `16-alpine`, `pg16`, `2.1-pg16`.
    pub fn major(&self) -> Option<u32> {
        let tag = self.tag.as_deref()?;
        let after_pg = tag.split_once("pg").map(|(_, rest)| rest);
        let number = |text: &str| {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            text[..digits].parse().ok()
        };
        after_pg.and_then(number).or_else(|| number(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let table = [
            ("postgres", "postgres", None, None),
            (
                "postgres:16-alpine",
                "postgres",
                Some("16-alpine"),
                Some(16),
            ),
            ("docker.io/library/redis:7", "redis", Some("7"), Some(7)),
            (
                "ghcr.io/immich-app/postgres:14-v@sha256:00",
                "immich-app/postgres",
                Some("14-v"),
                Some(14),
            ),
            ("localhost:5000/a/b", "a/b", None, None),
            ("localhost:5000/a/b:1", "a/b", Some("1"), Some(1)),
            (
                "pgvector/pgvector:pg17",
                "pgvector/pgvector",
                Some("pg17"),
                Some(17),
            ),
            (
                "timescale/timescaledb:2.17-pg16",
                "timescale/timescaledb",
                Some("2.17-pg16"),
                Some(16),
            ),
            (
                "minio/minio:RELEASE.2024",
                "minio/minio",
                Some("RELEASE.2024"),
                None,
            ),
        ];
        for (text, repository, tag, major) in table {
            let name = ImageName::parse(text);
            assert_eq!(
                (name.repository.as_str(), name.tag.as_deref()),
                (repository, tag),
                "{text}"
            );
            assert_eq!(name.major(), major, "{text}");
        }
    }
}
