//! protocol

pub mod service;
