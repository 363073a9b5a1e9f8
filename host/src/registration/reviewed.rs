//! What rights a registration needs, and what is known of them.

use super::account;
use super::controller::Controller;
use super::known::identity;
use super::report::Outcome;
use super::reviews::{Made, Reviews};
use crate::kinds::Served;
use crate::rights::{Account, Asked, Found, Place};
use kybern_interface::Registration;
use std::sync::Arc;

impl Controller {
    /// Which rights it is known to have and to lack; has them asked for if that is due.
    pub(super) fn review<'a>(
        &self,
        registration: &Registration,
        outcome: &Outcome,
        reviews: &'a mut Reviews,
    ) -> Option<&'a Found> {
        let (name, now) = (registration.name(), crate::clock::monotonic());
        let served = self.kinds.served();
        if !served.complete() {
            return None;
        }
        if outcome.turns_unreadable(registration) {
            reviews.unreadable(name, now);
        }
        let made = Made {
            of: identity(registration),
            served: Arc::clone(&served),
        };
        let asked = || self.asked(registration, &served);
        let found = reviews.follow(name, made, asked, &self.reviewer, now);
        self.reviewer.told(name, found.map(Found::missing));
        found
    }

    /// What rights it needs.
    fn asked(&self, registration: &Registration, served: &Served) -> Asked {
        let at = Place {
            served,
            only: self.only.as_deref(),
            home: Some(&self.namespace),
        };
        let account = registration.spec.service_account_name.as_deref();
        let account = account.map(|text| {
            let (namespace, name) = account::parts(text);
            let account = Account {
                namespace: namespace.unwrap_or(&self.namespace).to_owned(),
                name: name.to_owned(),
            };
            (account, at.of_account(registration))
        });
        Asked {
            host: at.of_host(registration),
            account,
        }
    }
}
