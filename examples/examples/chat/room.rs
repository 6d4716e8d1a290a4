//! Rooms and who is in them.
//!
//! Everyone in a room hears the same events in the same order. Each member has a bounded queue of
//! them: whoever lets it fill up is put out of the room, so that a slow reader costs a bounded
//! amount of memory and holds up nobody else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};
use tower_websocket::ByteString;

use crate::protocol::{Event, Field, Rejected, label, text};

/// How many people a room takes. Fewer than [`QUEUE`], so that all of them entering at once puts
/// nobody out.
pub const MAX_MEMBERS: usize = 50;

/// How many events wait for a member at most.
pub const QUEUE: usize = 64;

/// All rooms. One exists as long as somebody is in it. Clones are handles to the same rooms.
#[derive(Clone, Debug, Default)]
pub struct Rooms {
    // One lock for all of them, held for as long as it takes to queue an event and never while
    // waiting. A larger server would have one for each room.
    rooms: Arc<Mutex<HashMap<String, Room>>>,
}

/// The people of a room by [key](key), so that a list of them is in order.
#[derive(Debug, Default)]
struct Room {
    seats: BTreeMap<String, Seat>,
}

/// A room's side of a [`Member`].
#[derive(Debug)]
struct Seat {
    name: String,
    queue: mpsc::Sender<ByteString>,
    /// Dropped when the member is put out.
    _evict: watch::Sender<()>,
}

/// Somebody in a room. Dropping it leaves the room.
#[derive(Debug)]
pub struct Member {
    rooms: Rooms,
    room: String,
    name: String,
    queue: mpsc::Receiver<ByteString>,
    evicted: watch::Receiver<()>,
}

impl Rooms {
    /// Enters a room, which hears of it. The member's first event is [`Event::Joined`].
    pub fn join(&self, name: &str, room: &str) -> Result<Member, Rejected> {
        let name = label(Field::Name, name)?;
        let room = label(Field::Room, room)?;
        let mut rooms = self.lock();
        if let Some(Room { seats }) = rooms.get(&key(&room)) {
            if seats.contains_key(&key(&name)) {
                return Err(Rejected::NameTaken { name, room });
            }
            if seats.len() >= MAX_MEMBERS {
                return Err(Rejected::RoomFull { room, max: MAX_MEMBERS });
            }
        }
        broadcast(&mut rooms, &room, &Event::Entered { name: &name });

        let (sender, queue) = mpsc::channel(QUEUE);
        let (evict, evicted) = watch::channel(());
        let seats = &mut rooms.entry(key(&room)).or_default().seats;
        seats.insert(key(&name), Seat { name: name.clone(), queue: sender.clone(), _evict: evict });
        let people = seats.values().map(|seat| seat.name.as_str()).collect();
        let joined = Event::Joined { name: &name, room: &room, people };
        // The queue is empty, and its other end at hand.
        let _ = sender.try_send(joined.encode());
        drop(rooms);
        Ok(Member { rooms: self.clone(), room, name, queue, evicted })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// The next event, or `None` when the member was put out. Cancel safe.
    pub async fn next(&mut self) -> Option<ByteString> {
        tokio::select! {
            biased;
            _ = self.evicted.changed() => None,
            event = self.queue.recv() => event,
        }
    }

    /// Resolves when the member was put out. Cancel safe.
    pub async fn evicted(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = self.evicted.changed().await;
    }

    /// Says something to the room, this member included.
    pub fn say(&self, input: &str) -> Result<(), Rejected> {
        let said = Event::Said { author: &self.name, text: text(input)? };
        broadcast(&mut self.rooms.lock(), &self.room, &said);
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock();
        // The name of somebody who was put out may belong to somebody else by now.
        let is_in = self.evicted.has_changed().is_ok();
        if is_in && let Some(room) = rooms.get_mut(&key(&self.room)) {
            room.seats.remove(&key(&self.name));
            broadcast(&mut rooms, &self.room, &Event::Left { name: &self.name });
        }
    }
}

/// Queues an event for everyone in the room, puts out whose queue is full, and tells the others.
/// Removes the room when nobody is left.
fn broadcast(rooms: &mut HashMap<String, Room>, room: &str, event: &Event<'_>) {
    let Some(Room { seats }) = rooms.get_mut(&key(room)) else { return };
    let mut left = Vec::new();
    let mut event = event.encode();
    loop {
        seats.retain(|_, seat| {
            let queued = seat.queue.try_send(event.clone()).is_ok();
            if !queued {
                left.push(seat.name.clone());
            }
            queued
        });
        // This may put out more of them, but each one only once.
        match left.pop() {
            Some(name) => event = Event::Left { name: &name }.encode(),
            None => break,
        }
    }
    if seats.is_empty() {
        rooms.remove(&key(room));
    }
}

/// Names that differ in case only are the same.
fn key(label: &str) -> String {
    label.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is queued for a member.
    fn heard(member: &mut Member) -> Vec<String> {
        std::iter::from_fn(|| member.queue.try_recv().ok()).map(|event| event.to_string()).collect()
    }

    fn said(author: &str, text: &str) -> String {
        Event::Said { author, text }.encode().to_string()
    }

    fn left(name: &str) -> String {
        Event::Left { name }.encode().to_string()
    }

    /// Says `events` things; the listeners of `others` keep up.
    fn flood(speaker: &mut Member, others: &mut [&mut Member], events: usize) {
        for i in 0..events {
            speaker.say(&i.to_string()).unwrap();
            heard(speaker);
            for other in &mut *others {
                heard(other);
            }
        }
    }

    #[test]
    fn everyone_in_a_room_hears_the_same_in_the_same_order() {
        let rooms = Rooms::default();
        let mut ada = rooms.join("Ada", "lobby").unwrap();
        let mut bob = rooms.join("Bob", "lobby").unwrap();
        heard(&mut ada);
        heard(&mut bob);

        ada.say("one").unwrap();
        bob.say("two").unwrap();
        ada.say("three").unwrap();
        let expected = [said("Ada", "one"), said("Bob", "two"), said("Ada", "three")];
        assert_eq!(heard(&mut ada), expected);
        assert_eq!(heard(&mut bob), expected);
    }

    #[test]
    fn other_rooms_hear_nothing() {
        let rooms = Rooms::default();
        let ada = rooms.join("Ada", "lobby").unwrap();
        let mut bob = rooms.join("Bob", "kitchen").unwrap();
        heard(&mut bob);
        ada.say("hi").unwrap();
        drop(ada);
        assert_eq!(heard(&mut bob), [""; 0]);
    }

    #[test]
    fn a_room_hears_who_enters_and_leaves_and_a_new_member_who_is_there() {
        let rooms = Rooms::default();
        let mut bob = rooms.join("Bob", "lobby").unwrap();
        let people = vec!["Bob"];
        let joined = Event::Joined { name: "Bob", room: "lobby", people };
        assert_eq!(heard(&mut bob), [joined.encode().to_string()]);

        let mut ada = rooms.join(" Ada ", "Lobby").unwrap();
        assert_eq!(heard(&mut bob), [Event::Entered { name: "Ada" }.encode().to_string()]);
        let people = vec!["Ada", "Bob"];
        let joined = Event::Joined { name: "Ada", room: "Lobby", people };
        assert_eq!(heard(&mut ada), [joined.encode().to_string()]);

        drop(ada);
        assert_eq!(heard(&mut bob), [left("Ada")]);
    }

    #[test]
    fn a_name_is_taken_in_its_room_until_it_is_left() {
        let rooms = Rooms::default();
        let ada = rooms.join("Ada", "lobby").unwrap();
        let taken = Rejected::NameTaken { name: "ADA".into(), room: "Lobby".into() };
        assert_eq!(rooms.join("ADA", "Lobby").unwrap_err(), taken);
        assert!(rooms.join("Ada", "kitchen").is_ok());
        drop(ada);
        assert!(rooms.join("ADA", "Lobby").is_ok());
    }

    #[test]
    fn a_room_takes_so_many_people() {
        let rooms = Rooms::default();
        let mut members: Vec<_> =
            (0..MAX_MEMBERS).map(|i| rooms.join(&i.to_string(), "lobby").unwrap()).collect();
        let full = Rejected::RoomFull { room: "lobby".into(), max: MAX_MEMBERS };
        assert_eq!(rooms.join("Ada", "lobby").unwrap_err(), full);
        assert!(rooms.join("Ada", "kitchen").is_ok());
        members.pop();
        assert!(rooms.join("Ada", "lobby").is_ok());
    }

    #[test]
    fn a_room_without_people_is_gone() {
        let rooms = Rooms::default();
        let ada = rooms.join("Ada", "lobby").unwrap();
        let bob = rooms.join("Bob", "lobby").unwrap();
        drop(ada);
        assert_eq!(rooms.lock().len(), 1);
        drop(bob);
        assert_eq!(rooms.lock().len(), 0);
        assert!(rooms.join("Ada", " ").is_err());
        assert_eq!(rooms.lock().len(), 0);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_put_out_and_the_others_go_on() {
        let rooms = Rooms::default();
        let mut ada = rooms.join("Ada", "lobby").unwrap();
        let mut slow = rooms.join("Slow", "lobby").unwrap();
        heard(&mut ada);

        // One more is queued: that it joined.
        flood(&mut ada, &mut [], QUEUE - 1);
        assert_eq!(rooms.lock()["lobby"].seats.len(), 2);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, slow.evicted()).await.is_err());

        ada.say("once too often").unwrap();
        assert_eq!(heard(&mut ada), [said("Ada", "once too often"), left("Slow")]);
        slow.evicted().await;
        assert_eq!(slow.next().await, None);
        assert_eq!(slow.queue.len(), QUEUE, "what is kept for a slow member");
    }

    #[test]
    fn who_was_put_out_does_not_take_a_namesake_along() {
        let rooms = Rooms::default();
        let mut ada = rooms.join("Ada", "lobby").unwrap();
        let slow = rooms.join("Slow", "lobby").unwrap();
        flood(&mut ada, &mut [], QUEUE);
        let mut namesake = rooms.join("Slow", "lobby").unwrap();
        heard(&mut ada);
        heard(&mut namesake);
        drop(slow);
        assert_eq!(heard(&mut ada), [""; 0]);
        ada.say("still there?").unwrap();
        assert_eq!(heard(&mut namesake), [said("Ada", "still there?")]);
    }

    #[test]
    fn several_are_put_out_at_once() {
        let rooms = Rooms::default();
        let mut ada = rooms.join("Ada", "lobby").unwrap();
        let mut bob = rooms.join("Bob", "lobby").unwrap();
        let _slow = [rooms.join("C", "lobby").unwrap(), rooms.join("D", "lobby").unwrap()];
        heard(&mut ada);
        heard(&mut bob);
        // Both queues hold different numbers of events about entering.
        flood(&mut ada, &mut [&mut bob], QUEUE);
        assert_eq!(rooms.lock()["lobby"].seats.len(), 2);
        ada.say("we two").unwrap();
        assert_eq!(heard(&mut bob), [said("Ada", "we two")]);
    }

    #[test]
    fn who_says_nothing_valid_is_not_heard() {
        let rooms = Rooms::default();
        let mut ada = rooms.join("Ada", "lobby").unwrap();
        heard(&mut ada);
        assert_eq!(ada.say(" "), Err(Rejected::Empty(Field::Text)));
        assert_eq!(heard(&mut ada), [""; 0]);
    }
}
