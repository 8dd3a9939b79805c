//! A tar archive of a few small files, whole in memory. Source: POSIX.1-2017, `pax`, "ustar
//! Interchange Format"; only plain files and directories, names up to 100 bytes.

use zeroize::Zeroizing;

const BLOCK: usize = 512;
const MOST_NAME_BYTES: usize = 100;

/// A file of the kit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place, with slashes.
    pub name: String,
    /// What is in it; it may be secret.
    pub content: Zeroizing<Vec<u8>>,
}

/// The archive of these files, readable by their owner only.
pub(super) fn pack(entries: &[Entry], mtime: i64) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend_from_slice(&header(&entry.name, entry.content.len(), mtime));
        out.extend_from_slice(&entry.content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn header(name: &str, size: usize, mtime: i64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, &name[..name.len().min(MOST_NAME_BYTES)]);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{:011o}\0", mtime.max(0)));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The plain files of an archive; an error in words if it is none, or names a place outside.
pub(super) fn unpack(archive: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let mut entries = Vec::new();
    let mut rest = archive;
    loop {
        let (head, tail) = rest.split_at_checked(BLOCK).ok_or("it is cut")?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        let name = text(&head[..MOST_NAME_BYTES]).ok_or("a name is no text")?;
        let size = text(&head[124..135]).and_then(|octal| usize::from_str_radix(octal, 8).ok());
        let size = size.ok_or("a length is no number")?;
        let content = tail.get(..size).ok_or("it is cut")?;
        if matches!(head[156], b'0' | 0) {
            if !is_inside(name) {
                return Err("it names a place outside");
            }
            entries.push(Entry {
                name: name.to_owned(),
                content: Zeroizing::new(content.to_vec()),
            });
        }
        rest = tail
            .get(size.next_multiple_of(BLOCK)..)
            .ok_or("it is cut")?;
    }
}

fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0);
    std::str::from_utf8(&field[..end.unwrap_or(field.len())]).ok()
}

fn is_inside(name: &str) -> bool {
    let fine = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Entry {
        Entry {
            name: name.to_owned(),
            content: Zeroizing::new(content.to_vec()),
        }
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let entries = [
            entry("a", b""),
            entry("secrets/b", &[7; 512]),
            entry("c", &[1; 1000]),
        ];
        assert_eq!(unpack(&pack(&entries, 1_700_000_000)).unwrap(), entries);
    }

    #[test]
    fn a_place_outside_and_a_cut_archive_are_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "a//b"] {
            unpack(&pack(&[entry(name, b"x")], 0)).unwrap_err();
        }
        let whole = pack(&[entry("a", &[1; 600])], 0);
        for length in [0, 100, 512, 1000, 1536, 2000] {
            unpack(&whole[..length]).unwrap_err();
        }
    }
}
