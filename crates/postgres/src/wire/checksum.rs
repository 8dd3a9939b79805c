//! What the server says about damaged pages.

use super::ChecksumFailure;
use crate::error::ServerError;

/// Reads file and block out of the server's warnings about checksums. Their words may be in another
/// language; if the backup ended as corrupted, every warning is passed on.
pub(super) fn checksum_failures(
    notices: &[ServerError],
    is_corrupted: bool,
) -> Vec<ChecksumFailure> {
    let warnings = notices.iter().filter(|notice| notice.severity == "WARNING");
    let about_checksums =
        warnings.filter(|notice| is_corrupted || notice.message.contains("checksum verification"));
    let mut failures: Vec<ChecksumFailure> = about_checksums
        .map(|notice| checksum_failure(&notice.message))
        .collect();
    // The summing-up of a file, or of all, stands for itself only if nothing tells more.
    if failures.iter().any(|failure| failure.block.is_some()) {
        failures.retain(|failure| failure.block.is_some());
    }
    if failures.is_empty() && is_corrupted {
        failures.push(checksum_failure(
            "checksum verification failure during base backup",
        ));
    }
    failures
}

fn checksum_failure(message: &str) -> ChecksumFailure {
    let file = message
        .split('"')
        .nth(1)
        .map(|file| file.trim_start_matches("./").to_owned());
    let block = message.split_once(", block ").and_then(|(_, rest)| {
        rest.split(|character: char| !character.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    });
    ChecksumFailure {
        file,
        block,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_tells_file_and_block() {
        let message = "checksum verification failed in file \"./base/5/16384\", block 17: calculated 1A2B but expected 3C4D";
        let failure = checksum_failure(message);
        assert_eq!(
            (failure.file.as_deref(), failure.block),
            (Some("base/5/16384"), Some(17))
        );
    }

    #[test]
    fn a_corrupted_end_without_any_warning_is_still_reported() {
        assert_eq!(checksum_failures(&[], true).len(), 1);
        assert!(checksum_failures(&[], false).is_empty());
    }
}
