use std::fmt;

/// A small picture that has a name in every language.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Emoji {
    /// The picture itself.
    pub symbol: &'static str,
    /// What it is called in English.
    pub name: &'static str,
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.symbol, self.name)
    }
}

impl fmt::Debug for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emoji").finish_non_exhaustive()
    }
}

const fn emoji(symbol: &'static str, name: &'static str) -> Emoji {
    Emoji { symbol, name }
}

/// The table of the Matrix specification, Client-Server API, "SAS method: emoji"
/// (<https://spec.matrix.org/latest/client-server-api/#sas-method-emoji>): chosen so that each can
/// be told from all others, also when it is described over a telephone.
pub(super) const TABLE: [Emoji; 64] = [
    emoji("🐶", "Dog"),
    emoji("🐱", "Cat"),
    emoji("🦁", "Lion"),
    emoji("🐎", "Horse"),
    emoji("🦄", "Unicorn"),
    emoji("🐷", "Pig"),
    emoji("🐘", "Elephant"),
    emoji("🐰", "Rabbit"),
    emoji("🐼", "Panda"),
    emoji("🐓", "Rooster"),
    emoji("🐧", "Penguin"),
    emoji("🐢", "Turtle"),
    emoji("🐟", "Fish"),
    emoji("🐙", "Octopus"),
    emoji("🦋", "Butterfly"),
    emoji("🌷", "Flower"),
    emoji("🌳", "Tree"),
    emoji("🌵", "Cactus"),
    emoji("🍄", "Mushroom"),
    emoji("🌏", "Globe"),
    emoji("🌙", "Moon"),
    emoji("☁️", "Cloud"),
    emoji("🔥", "Fire"),
    emoji("🍌", "Banana"),
    emoji("🍎", "Apple"),
    emoji("🍓", "Strawberry"),
    emoji("🌽", "Corn"),
    emoji("🍕", "Pizza"),
    emoji("🎂", "Cake"),
    emoji("❤️", "Heart"),
    emoji("😀", "Smiley"),
    emoji("🤖", "Robot"),
    emoji("🎩", "Hat"),
    emoji("👓", "Glasses"),
    emoji("🔧", "Spanner"),
    emoji("🎅", "Santa"),
    emoji("👍", "Thumbs Up"),
    emoji("☂️", "Umbrella"),
    emoji("⌛", "Hourglass"),
    emoji("⏰", "Clock"),
    emoji("🎁", "Gift"),
    emoji("💡", "Light Bulb"),
    emoji("📕", "Book"),
    emoji("✏️", "Pencil"),
    emoji("📎", "Paperclip"),
    emoji("✂️", "Scissors"),
    emoji("🔒", "Lock"),
    emoji("🔑", "Key"),
    emoji("🔨", "Hammer"),
    emoji("☎️", "Telephone"),
    emoji("🏁", "Flag"),
    emoji("🚂", "Train"),
    emoji("🚲", "Bicycle"),
    emoji("✈️", "Aeroplane"),
    emoji("🚀", "Rocket"),
    emoji("🏆", "Trophy"),
    emoji("⚽", "Ball"),
    emoji("🎸", "Guitar"),
    emoji("🎺", "Trumpet"),
    emoji("🔔", "Bell"),
    emoji("⚓", "Anchor"),
    emoji("🎧", "Headphones"),
    emoji("📁", "Folder"),
    emoji("📌", "Pin"),
];
