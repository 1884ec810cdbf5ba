//! client

pub mod connection;
