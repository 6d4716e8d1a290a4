//! The fields that a handshake is judged by, found in one pass over the header.

use http::{HeaderMap, HeaderValue, header};

use super::list;

/// The lines of one field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Absent,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Field<'a> {
    fn add(&mut self, line: &'a HeaderValue) {
        *self = match *self {
            Self::Absent => Self::One(line),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    pub(super) fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Each field of a request that a handshake is judged by. A lookup for each would hash each name.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    headers: &'a HeaderMap,
    pub(super) connection: Field<'a>,
    pub(super) content_length: Field<'a>,
    pub(super) extensions: Field<'a>,
    pub(super) host: Field<'a>,
    pub(super) key: Field<'a>,
    pub(super) subprotocols: Field<'a>,
    pub(super) transfer_encoding: Field<'a>,
    pub(super) upgrade: Field<'a>,
    pub(super) version: Field<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self {
            headers,
            connection: Field::Absent,
            content_length: Field::Absent,
            extensions: Field::Absent,
            host: Field::Absent,
            key: Field::Absent,
            subprotocols: Field::Absent,
            transfer_encoding: Field::Absent,
            upgrade: Field::Absent,
            version: Field::Absent,
        };
        for (name, line) in headers {
            let field = match *name {
                header::CONNECTION => &mut fields.connection,
                header::CONTENT_LENGTH => &mut fields.content_length,
                header::HOST => &mut fields.host,
                header::SEC_WEBSOCKET_EXTENSIONS => &mut fields.extensions,
                header::SEC_WEBSOCKET_KEY => &mut fields.key,
                header::SEC_WEBSOCKET_PROTOCOL => &mut fields.subprotocols,
                header::SEC_WEBSOCKET_VERSION => &mut fields.version,
                header::TRANSFER_ENCODING => &mut fields.transfer_encoding,
                header::UPGRADE => &mut fields.upgrade,
                _ => continue,
            };
            field.add(line);
        }
        fields
    }

    /// The whole header.
    pub(super) fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Whether `Connection` has the element `option`, on any line.
    pub(super) fn connection_lists(&self, option: &str) -> bool {
        match self.connection {
            Field::Absent => false,
            Field::One(line) => list::line_lists_token(line, option),
            Field::Several => list::lists_token(self.headers, &header::CONNECTION, option),
        }
    }

    /// Whether `Upgrade` has the element `protocol`, on any line.
    pub(super) fn upgrade_lists(&self, protocol: &str) -> bool {
        match self.upgrade {
            Field::Absent => false,
            Field::One(line) => list::line_lists_token(line, protocol),
            Field::Several => list::lists_token(self.headers, &header::UPGRADE, protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    /// H-05
    #[test]
    fn each_field_is_found_once_or_said_to_be_repeated() {
        let names = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::SEC_WEBSOCKET_EXTENSIONS,
            header::HOST,
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_PROTOCOL,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
            header::SEC_WEBSOCKET_VERSION,
        ];
        fn all<'a>(fields: &Fields<'a>) -> [Field<'a>; 9] {
            [
                fields.connection,
                fields.content_length,
                fields.extensions,
                fields.host,
                fields.key,
                fields.subprotocols,
                fields.transfer_encoding,
                fields.upgrade,
                fields.version,
            ]
        }
        for (index, name) in names.iter().enumerate() {
            let other = (header::COOKIE, "other");
            for lines in 0..4 {
                let mut table = vec![other.clone(), (HeaderName::from_static("x-a"), "other")];
                table.extend(vec![(name.clone(), "line"); lines]);
                table.push(other.clone());
                let headers = headers(&table);
                for (at, field) in all(&Fields::of(&headers)).into_iter().enumerate() {
                    match (field, if at == index { lines } else { 0 }) {
                        (Field::Absent, 0) | (Field::Several, 2..) => {}
                        (Field::One(line), 1) => assert_eq!(line, "line"),
                        (field, lines) => panic!("{name}: {field:?} for {lines} lines"),
                    }
                }
            }
        }
    }

    /// H-03, H-04, H-05
    #[test]
    fn an_element_counts_on_any_line() {
        for (lines, expected) in [
            (&[] as &[_], false),
            (&["a"], true),
            (&["b, A"], true),
            (&["b"], false),
            (&["b", "c , a"], true),
            (&["b", "ab"], false),
        ] {
            let of = |name: HeaderName| {
                headers(&lines.iter().map(|&line| (name.clone(), line)).collect::<Vec<_>>())
            };
            let upgrade = of(header::UPGRADE);
            assert_eq!(Fields::of(&upgrade).upgrade_lists("a"), expected, "{lines:?}");
            let connection = of(header::CONNECTION);
            assert_eq!(Fields::of(&connection).connection_lists("a"), expected, "{lines:?}");
        }
    }
}
