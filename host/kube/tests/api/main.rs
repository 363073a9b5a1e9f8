//! Against a real API server: what only it can answer.

#[cfg(test)]
mod discovery;
#[cfg(test)]
mod election;
#[cfg(test)]
mod events;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reviewing;
#[cfg(test)]
mod storing;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod writing;
