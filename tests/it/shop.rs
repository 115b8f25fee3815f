//! The shop as its customers and operators see it: the built binary, over HTTP, with its rehearsal.

mod cancel;
mod endpoints;
mod failing;
mod happy;
mod harness;
mod hostile;
mod keys;
mod lists;
mod misuse;
mod notices;
mod operators;
mod outbox;
mod plans;
mod prefix;
mod provider;
mod races;
mod reading;
mod rehearsal;
mod replicas;
mod scarce;
mod start;
mod streams;
mod tickets;
mod why;
