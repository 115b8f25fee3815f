//! The coffee.

pub mod kitchen;
pub mod notices;
pub mod participant;
pub mod payments;
