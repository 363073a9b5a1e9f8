//! The sandbox against guests that mean harm, and against files that are no plugins.
//!
//! What a hostile guest may try, and the tests that say what becomes of it. Names without a path are
//! of this folder; `suite` is tests/suite/tests/suite, on a real API server.
//!
//! | it tries | tests |
//! |---|---|
//! | an endless loop | `evil::loop`, `evil::loop_that_gets_no_cpu`; suite `sandbox` |
//! | deep recursion | `evil::deep_recursion`; suite `sandbox` |
//! | a memory bomb | `evil::memory`, `evil::memory_returns`, `evil::no_call_gets_more_memory_than_the_runtime_has`; suite `sandbox` |
//! | large copies in memory, in loops or one after the other | `floods::copies`, `floods::instructions_over_much_memory_are_interrupted_without_a_loop`; suite `sandbox` |
//! | a huge plan, a malformed one | `floods::huge_plan`, `evil::{big_output, not_json, not_a_plan, unknown_action}`, `loading::returned_values_that_break_the_rules_are_malformed`; host/reconcile/src/check_tests.rs; suite `sandbox` |
//! | deep JSON | `evil::deep_json`; suite `sandbox` |
//! | a flood of messages, one huge message, forged lines | `evil::log_flood`, `floods::big_log`; host/plugin/src/log.rs |
//! | a flood of handles | `evil::many_cursors`, `floods::reopen` |
//! | a flood of calls of the host | `floods::calls`, `floods::host_functions_are_interrupted_without_a_loop` |
//! | slow calls of the host | `floods::row_by_row`; host/plugin/tests/sandbox/act.rs for servers that do not answer |
//! | large values for the host to copy | `floods::no_value_is_copied_out_of_a_guest_that_is_larger_than_four_documents`, `evil::big_output` |
//! | imports that are not offered | `loading`; host/plugin/src/world.rs |
//! | HTTP hosts that are not granted, redirects, names that lead elsewhere | host/src/outgoing: grant.rs, address.rs, client_tests.rs; suite `effects::nothing_goes_where_no_grant_allows` |
//! | SQL over what is not granted | host/sql/src/tests: access.rs, engine_tables.rs; suite `sandbox::what_is_not_granted_is_told_as_what_was_never_there` |
//! | Secrets | the same; suite `asking::no_value_of_a_secret_is_told`, `sandbox::a_plan_outside_its_grants_is_refused_whole_though_the_host_itself_may_all_of_it` |
//! | another resource's children | host/reconcile/tests/it/ownership.rs `a_plan_that_names_the_child_of_another_cr_is_told_whose_it_is` |
//! | other plans for the same situation | `evil::impure`; suite `sandbox` |
//! | to hurt the plugins beside it | `others`; suite `sandbox::each_misbehaviour_is_a_condition_and_an_event_and_hurts_nobody_else` |
//! | to keep the compiler busy, to take its memory, to bring it down | `compile`; suite `compile` |
//! | to keep the loader busy or fill its memory with a bundle, or with what it says of it | `bundle::{a_hostile_describe_ends_at_its_limits, a_section_that_nobody_composed_is_refused}`; host/bundle |
//! | code of its own in the cache | `cache`, `compile::nothing_is_believed_of_what_is_no_compiler` |
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod act;
mod arrow;
mod bundle;
mod cache;
mod compile;
mod evil;
mod floods;
mod frozen;
mod guest;
mod loading;
mod modules;
mod others;
mod rows;
mod text;
mod wasi;
