//! Arithmetic of the field with 256 elements, modulo x⁸ + x⁴ + x³ + x² + 1 (0x11d), as RAID 6 and most Reed–Solomon
//! codes use it.
//!
//! Source: H. P. Anvin, "The mathematics of RAID-6".

/// Bytes that are worked on at a time; the compiler keeps them in vector registers.
const LANE: usize = 64;

const fn double(byte: u8) -> u8 {
    // The sign bit spread over the byte, without a branch.
    let carry = (byte.cast_signed() >> 7).cast_unsigned();
    (byte << 1) ^ (carry & 0x1d)
}

/// The product of two elements.
pub(super) const fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut power, mut bits) = (0, a, b);
    while bits != 0 {
        if bits & 1 == 1 {
            product ^= power;
        }
        power = double(power);
        bits >>= 1;
    }
    product
}

/// The element whose product with this one is 1; of 0, which has none, 0.
pub(super) const fn inverse(element: u8) -> u8 {
    // Its 254th power: the 255th of all but 0 is 1.
    let (mut power, mut result, mut left) = (element, 1, 254);
    while left != 0 {
        if left & 1 == 1 {
            result = multiply(result, power);
        }
        power = multiply(power, power);
        left >>= 1;
    }
    result
}

/// Adds `data` times each of `factors` to each of `sums`, from their first byte on. To add is to subtract. Sums are at
/// least as long as `data`; what is beyond their end is dropped.
pub(super) fn add_scaled(sums: &mut [Vec<u8>], data: &[u8], factors: &[u8]) {
    let masks: Vec<[u8; 8]> = factors.iter().map(|factor| masks_of(*factor)).collect();
    let (lanes, rest) = data.as_chunks::<LANE>();
    let mut at = 0;
    for lane in lanes {
        let powers = powers_of(lane);
        for (sum, masks) in sums.iter_mut().zip(&masks) {
            if let Some(sum) = sum.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                add_masked(sum, &powers, masks);
            }
        }
        at += LANE;
    }
    for (number, byte) in rest.iter().enumerate() {
        for (sum, factor) in sums.iter_mut().zip(factors) {
            if let Some(sum) = sum.get_mut(at + number) {
                *sum ^= multiply(*byte, *factor);
            }
        }
    }
}

/// For each bit of a factor: all ones if it is set.
fn masks_of(factor: u8) -> [u8; 8] {
    std::array::from_fn(|bit| if factor >> bit & 1 == 1 { 0xff } else { 0 })
}

/// The bytes times 1, x, x², … x⁷.
fn powers_of(lane: &[u8; LANE]) -> [[u8; LANE]; 8] {
    let mut powers = [*lane; 8];
    let mut last = *lane;
    for power in &mut powers[1..] {
        last.iter_mut().for_each(|byte| *byte = double(*byte));
        *power = last;
    }
    powers
}

fn add_masked(sum: &mut [u8; LANE], powers: &[[u8; LANE]; 8], masks: &[u8; 8]) {
    for (power, mask) in powers.iter().zip(masks) {
        for (sum, byte) in sum.iter_mut().zip(power) {
            *sum ^= byte & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        assert_eq!(inverse(0), 0);
        for element in 1..=255 {
            assert_eq!(multiply(element, inverse(element)), 1, "{element}");
        }
        // Known from everybody's tables.
        assert_eq!((multiply(0x80, 2), multiply(0x8e, 2)), (0x1d, 1));
    }

    #[test]
    fn a_long_sum_is_that_of_its_bytes() {
        let data: Vec<u8> = (0..1000_u32).map(|n| (n * 7 + n / 3) as u8).collect();
        for length in [0, 1, 63, 64, 65, 129, 1000] {
            let mut sums = vec![vec![0x55_u8; length], vec![0; length]];
            add_scaled(&mut sums, &data[..length], &[0x8e, 1]);
            for at in 0..length {
                assert_eq!(sums[0][at], 0x55 ^ multiply(data[at], 0x8e));
                assert_eq!(sums[1][at], data[at]);
            }
        }
    }
}
