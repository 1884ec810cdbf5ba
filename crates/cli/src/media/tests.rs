//! Files as ffmpeg makes them, read, written again and given back to ffmpeg; and files that
//! somebody damaged.

mod errors;
mod ffmpeg;
mod hostile;
mod recipes;
mod round_trips;
