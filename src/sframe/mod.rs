//! sframe
