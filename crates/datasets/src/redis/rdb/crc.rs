//! CRC-64 as Redis has it at the end of an RDB: the polynomial of Jones, reflected, begun with 0.
//! Source: `crc64.c` of Redis; "123456789" gives `e9c6d914c4b8d9ca`.

const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[k][b]`: what byte `b` does to the checksum when `k` more bytes follow it.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut behind = 1;
    while behind < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = tables[0][(before & 0xff) as usize] ^ before >> 8;
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// The checksum of what `crc` is the checksum of, and `bytes` behind it.
pub fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let mixed = (crc ^ u64::from_le_bytes(*eight)).to_le_bytes();
        crc = 0;
        for (place, byte) in mixed.into_iter().enumerate() {
            crc ^= TABLES[7 - place][usize::from(byte)];
        }
    }
    for byte in rest {
        crc = TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_that_redis_tests_itself_with() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn pieces_of_any_length_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..100).map(|n: u8| n.wrapping_mul(37)).collect();
        let whole = crc64(0, &bytes);
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(crc64(crc64(0, first), second), whole, "{cut}");
        }
    }
}
