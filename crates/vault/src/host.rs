//! Who is working, as locks, keys and snapshots name them.

/// The machine, user and process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The machine's name.
    pub name: String,
    /// The user's name.
    pub username: String,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The process.
    pub pid: u32,
}

impl Host {
    /// This process on this machine.
    #[must_use]
    pub fn current() -> Self {
        let uid = uzers::get_current_uid();
        let username = uzers::get_user_by_uid(uid).map_or_else(
            || uid.to_string(),
            |user| user.name().to_string_lossy().into_owned(),
        );
        Self {
            name: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            username,
            uid,
            gid: uzers::get_current_gid(),
            pid: std::process::id(),
        }
    }
}
