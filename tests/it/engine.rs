//! The room `saga` alone: toy sagas and toy participants on a real database.

mod attempts;
mod cancel;
mod commits;
mod crash_loop;
mod effects;
mod example;
mod faults;
mod feed;
mod harness;
mod heard;
mod loading;
mod local;
mod moods;
mod partitions;
mod replicas;
mod rest;
mod rig;
mod sagas;
mod settle;
mod toys;
mod upgrade;
mod versions;
mod views;
mod waits;
