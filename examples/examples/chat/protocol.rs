//! What the page and the server say to each other: JSON objects, told apart by their `type`.

use std::fmt;

use serde::{Deserialize, Serialize};
use tower_websocket::{ByteString, Message};

/// The longest name, in characters.
pub const MAX_NAME: usize = 24;

/// The longest name of a room, in characters.
pub const MAX_ROOM: usize = 32;

/// The longest text of a message, in characters.
pub const MAX_TEXT: usize = 1000;

/// From the page.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The first request of a connection, and only that.
    Join { name: String, room: String },
    /// For everyone in the room.
    Say { text: String },
}

impl Request {
    /// Reads a request.
    pub fn parse(message: &Message) -> Result<Self, Rejected> {
        let text = message.as_text().ok_or(Rejected::Malformed("a request is text".into()))?;
        serde_json::from_str(text).map_err(|error| Rejected::Malformed(error.to_string()))
    }
}

/// To the page.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The page is in the room now, with these people, itself among them.
    Joined { name: &'a str, room: &'a str, people: Vec<&'a str> },
    /// Somebody else is in the room now.
    Entered { name: &'a str },
    /// Somebody is no longer in the room.
    Left { name: &'a str },
    /// Somebody, perhaps the page itself, said something.
    Said { author: &'a str, text: &'a str },
    /// The page's last request was turned down.
    Rejected { field: Option<Field>, reason: String },
}

impl Event<'_> {
    /// The event as the text of a message. It is encoded once, and its clones share the bytes, however
    /// many people it goes to.
    pub fn encode(&self) -> ByteString {
        serde_json::to_string(self).expect("strings have a JSON form").into()
    }
}

/// What a [`Rejected`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Name,
    Room,
    Text,
}

impl Field {
    fn max(self) -> usize {
        match self {
            Self::Name => MAX_NAME,
            Self::Room => MAX_ROOM,
            Self::Text => MAX_TEXT,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Room => "room",
            Self::Text => "message",
        })
    }
}

/// Why a request was turned down, in words for the user.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected {
    /// A bug of the page, or no page at all.
    Malformed(String),
    Empty(Field),
    TooLong {
        field: Field,
        chars: usize,
    },
    Invisible {
        field: Field,
        found: char,
    },
    NameTaken {
        name: String,
        room: String,
    },
    RoomFull {
        room: String,
        max: usize,
    },
}

impl Rejected {
    /// The field that the user has to change.
    pub fn field(&self) -> Option<Field> {
        match self {
            Self::Malformed(_) => None,
            Self::Empty(field) | Self::TooLong { field, .. } | Self::Invisible { field, .. } => {
                Some(*field)
            }
            Self::NameTaken { .. } => Some(Field::Name),
            Self::RoomFull { .. } => Some(Field::Room),
        }
    }

    /// As an event for the page.
    pub fn encode(&self) -> ByteString {
        Event::Rejected { field: self.field(), reason: self.to_string() }.encode()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "The server did not understand the page: {why}."),
            Self::Empty(field) => write!(f, "The {field} is empty."),
            Self::TooLong { field, chars } => {
                let max = field.max();
                write!(f, "The {field} has {chars} characters, and may have up to {max}.")
            }
            Self::Invisible { field, found } => {
                write!(
                    f,
                    "The {field} has a character that cannot be seen: {}.",
                    found.escape_unicode()
                )
            }
            Self::NameTaken { name, room } => {
                write!(f, "Somebody in the room “{room}” is called “{name}” already.")
            }
            Self::RoomFull { room, max } => {
                write!(f, "The room “{room}” is full: {max} people are in it.")
            }
        }
    }
}

impl std::error::Error for Rejected {}

/// The name of a person or a room: visible, not too long, its white space normalised.
pub fn label(field: Field, input: &str) -> Result<String, Rejected> {
    let label = input.split_whitespace().collect::<Vec<_>>().join(" ");
    // These would let two labels look alike, or turn around the text behind them.
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    match label.chars().find(|c| invisible(*c)) {
        Some(found) => Err(Rejected::Invisible { field, found }),
        None => sized(field, &label).map(|()| label),
    }
}

/// What somebody says: not blank, not too long.
pub fn text(input: &str) -> Result<&str, Rejected> {
    let text = input.trim();
    sized(Field::Text, text).map(|()| text)
}

fn sized(field: Field, text: &str) -> Result<(), Rejected> {
    match text.chars().count() {
        0 => Err(Rejected::Empty(field)),
        chars if chars > field.max() => Err(Rejected::TooLong { field, chars }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_trimmed_and_their_spaces_collapsed() {
        assert_eq!(label(Field::Name, "  Ada \t Lovelace\n"), Ok("Ada Lovelace".into()));
        assert_eq!(label(Field::Room, "日本語"), Ok("日本語".into()));
    }

    #[test]
    fn a_label_is_neither_empty_nor_too_long() {
        assert_eq!(label(Field::Name, " \n"), Err(Rejected::Empty(Field::Name)));
        assert!(label(Field::Name, &"é".repeat(MAX_NAME)).is_ok());
        assert!(label(Field::Room, &"é".repeat(MAX_ROOM)).is_ok());
        let error = label(Field::Name, &"é".repeat(MAX_NAME + 1)).unwrap_err();
        assert_eq!(error, Rejected::TooLong { field: Field::Name, chars: MAX_NAME + 1 });
        assert_eq!(error.to_string(), "The name has 25 characters, and may have up to 24.");
    }

    #[test]
    fn a_label_hides_nothing() {
        for found in
            ['\0', '\u{1b}', '\u{7f}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}']
        {
            let error = label(Field::Name, &format!("Ada{found}B")).unwrap_err();
            assert_eq!(error, Rejected::Invisible { field: Field::Name, found });
        }
    }

    #[test]
    fn a_text_is_neither_blank_nor_too_long() {
        assert_eq!(text(" hi\nthere "), Ok("hi\nthere"));
        assert_eq!(text(" \n "), Err(Rejected::Empty(Field::Text)));
        assert!(text(&"😀".repeat(MAX_TEXT)).is_ok());
        let too_long = "x".repeat(MAX_TEXT + 1);
        assert_eq!(text(&too_long).unwrap_err().field(), Some(Field::Text));
    }

    #[test]
    fn requests_are_read_strictly() {
        let parse = |json: &str| Request::parse(&Message::from(json));
        assert!(matches!(
            parse(r#"{"type":"join","name":"Ada","room":"lobby"}"#),
            Ok(Request::Join { name, room }) if name == "Ada" && room == "lobby"
        ));
        assert!(
            matches!(parse(r#"{"type":"say","text":"hi"}"#), Ok(Request::Say { text }) if text == "hi")
        );
        for wrong in [
            "",
            "hi",
            "[]",
            r#"{"type":"shout","text":"hi"}"#,
            r#"{"type":"say"}"#,
            r#"{"type":"say","text":1}"#,
            r#"{"type":"say","text":"hi","author":"Eve"}"#,
        ] {
            let rejected = parse(wrong).unwrap_err();
            assert_eq!(rejected.field(), None, "{wrong}");
        }
        assert!(Request::parse(&Message::binary(r#"{"type":"say","text":"hi"}"#)).is_err());
    }

    #[test]
    fn events_are_objects_with_a_type() {
        let said = Event::Said { author: "Ada", text: "\"<b>\"" };
        assert_eq!(said.encode(), r#"{"type":"said","author":"Ada","text":"\"<b>\""}"#);
        assert_eq!(
            Rejected::Empty(Field::Room).encode(),
            r#"{"type":"rejected","field":"room","reason":"The room is empty."}"#
        );
    }
}
