//! The random polynomial that restic wants in a repository's configuration.
//!
//! restic cuts files where a Rabin fingerprint modulo this polynomial has some bits at zero, so it
//! must be irreducible over GF(2), or stock restic would cut badly. Ours is degree 53 like theirs.
//! Test of irreducibility after Ben-Or; source: Gao and Panario, "Tests and Constructions of
//! Irreducible Polynomials over Finite Fields".

const DEGREE: u32 = 53;

/// A random irreducible polynomial, in hex as the configuration holds it.
pub(crate) fn random_irreducible() -> Result<String, getrandom::Error> {
    loop {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        // Degree 53, and a constant term, without which x would divide it.
        let candidate = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1) | 1 << DEGREE | 1;
        if is_irreducible(candidate) {
            return Ok(format!("{candidate:x}"));
        }
    }
}

/// Ben-Or: no polynomial of degree i up to half divides it, and those all divide x^(2^i) - x.
fn is_irreducible(f: u64) -> bool {
    let mut power = 2; // x
    (1..=degree(f) / 2).all(|_| {
        power = multiply(power, power, f);
        gcd(f, power ^ 2) == 1
    })
}

const fn degree(f: u64) -> u32 {
    63 - f.leading_zeros()
}

fn multiply(mut a: u64, mut b: u64, modulus: u64) -> u64 {
    let top = 1 << degree(modulus);
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a & top != 0 {
            a ^= modulus;
        }
    }
    product
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        std::mem::swap(&mut a, &mut b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials_are_told_apart() {
        // restic's own default; x^2+x+1; x^3+x+1 are irreducible.
        for f in [0x3D_A335_8B4D_C173, 0b111, 0b1011] {
            assert!(is_irreducible(f), "{f:x}");
        }
        // (x+1)^2; (x+1)(x^2+x+1)
        for f in [0b101, 0b1001] {
            assert!(!is_irreducible(f), "{f:x}");
        }
    }

    #[test]
    fn every_repository_gets_its_own() {
        let (a, b) = (random_irreducible().unwrap(), random_irreducible().unwrap());
        assert_ne!(a, b);
        assert_eq!(degree(u64::from_str_radix(&a, 16).unwrap()), DEGREE);
    }
}
