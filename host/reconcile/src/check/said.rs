//! Checks of what a plan says of the resource itself: status, state, Events.

use super::{Checker, Fault, depth_over, short};
use serde_json::Value;

impl Checker<'_> {
    pub(super) fn status(&mut self, at: usize, status: &Value) {
        if !status.is_object() {
            self.invalid(format!("action {at}: a status is an object"));
        } else if depth_over(status, self.limits.depth) {
            self.invalid(format!(
                "action {at}: the status nests deeper than {}",
                self.limits.depth
            ));
        } else if status.to_string().len() > self.limits.status_bytes {
            self.invalid(format!(
                "action {at}: the status is larger than {} bytes",
                self.limits.status_bytes
            ));
        }
    }

    pub(super) fn state(&mut self, at: usize, state: &Value) {
        if !self.active.keeps_state() {
            self.offend(
                Fault::NotGranted,
                format!("action {at}: setState: no grant allows to keep state (grants.state)"),
            );
        }
        if depth_over(state, self.limits.depth) {
            self.invalid(format!(
                "action {at}: the state nests deeper than {}",
                self.limits.depth
            ));
            return;
        }
        let bytes = state.to_string().len();
        if bytes > self.limits.state_bytes {
            self.invalid(format!(
                "action {at}: the state has {bytes} bytes; at most {} are taken",
                self.limits.state_bytes
            ));
        }
    }

    pub(super) fn event(&mut self, at: usize, reason: &str, message: &str) {
        let camel = reason.len() <= 128
            && reason.starts_with(|c: char| c.is_ascii_uppercase())
            && reason.bytes().all(|b| b.is_ascii_alphanumeric());
        if !camel {
            self.invalid(format!(
                "action {at}: the reason {} of an event is not CamelCase",
                short(reason)
            ));
        }
        if message.chars().count() > self.limits.message_chars {
            self.invalid(format!(
                "action {at}: the message of an event is longer than {} characters",
                self.limits.message_chars
            ));
        }
    }
}
