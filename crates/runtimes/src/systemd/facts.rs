//! What systemd says of a unit, by name.

use jiff::Timestamp;
use serde_json::Value;

use super::bus::Properties;

/// Properties of one unit, of the interface `Unit` and that of its kind. What it does not have reads as nothing: empty, 0,
/// false. Source: org.freedesktop.systemd1(5).
#[derive(Clone, Debug, Default)]
pub(super) struct Facts(pub Properties);

impl Facts {
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    /// False also if it is not there.
    pub fn is(&self, name: &str) -> bool {
        self.0
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// The elements of a list.
    pub fn list(&self, name: &str) -> &[Value] {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The elements of a list of texts.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.list(name).iter().filter_map(Value::as_str)
    }

    /// A moment, which systemd counts in microseconds since 1970; `None` for never.
    pub fn moment(&self, name: &str) -> Option<Timestamp> {
        let moment = self.number(name);
        Timestamp::from_microsecond(moment)
            .ok()
            .filter(|_| moment > 0)
    }

    /// There is no unit of that name.
    pub fn is_absent(&self) -> bool {
        self.text("LoadState") == "not-found"
    }

    /// Nothing of it runs, and nothing is about to.
    pub fn is_down(&self) -> bool {
        matches!(self.text("ActiveState"), "inactive" | "failed")
    }

    pub fn is_frozen(&self) -> bool {
        matches!(self.text("FreezerState"), "frozen" | "freezing")
    }
}
