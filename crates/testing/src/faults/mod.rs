//! What goes wrong in the world: damaged files, full disks, broken connections.

mod damage;
mod disk;
mod proxy;
mod tree;

pub use damage::{cut, delete, files_below, flip_bit};
pub use disk::SmallDisk;
pub use proxy::{Direction, Fault, Proxy};
pub use tree::{TreeDigest, TreeEntry, tree_digest};
