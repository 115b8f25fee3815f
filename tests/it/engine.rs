//! The room `saga` alone: toy sagas and toy participants on a real database.

mod attempts;
mod cancel;
mod commits;
mod crash_loop;
mod effects;
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
mod toys;
mod views;
mod waits;
