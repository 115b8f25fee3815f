//! The shop as its customers and operators see it: the built binary, over HTTP, with its rehearsal.

mod cancel;
mod commands;
mod dry_cancel;
mod dry_run;
mod failing;
mod happy;
mod harness;
mod hostile;
mod keys;
mod lists;
mod misuse;
mod operators;
mod prefix;
mod provider;
mod races;
mod reading;
mod replay;
mod replicas;
mod scarce;
mod start;
mod streams;
mod time_travel;
