"use strict";

const MAX_TEXT = 1000; // As on the server.
const MAX_SHOWN = 500; // Older messages leave the page.
const MAX_UNSENT = 64 * 1024; // Bytes that may wait for a slow connection.
const FIRST_RETRY = 500; // Milliseconds; doubled with each attempt, up to the last.
const LAST_RETRY = 15_000;

const $ = (id) => document.getElementById(id);
const url = new URL("chat", location.href.replace(/^http/, "ws"));
url.hash = ""; // A WebSocket URL must not have one.

/** Who and where the user wants to be, and whether that worked before: `{ name, room, joined }`. */
let wanted = null;
/** The current socket. Events of earlier ones are ignored. */
let socket = null;
/** Whether the server has let us into the room. */
let joined = false;
let attempt = 0;
let timer = 0;

// ===== the connection =====

function connect() {
  clearTimeout(timer);
  const mine = new WebSocket(url);
  socket = mine;
  mine.onopen = () => request({ type: "join", name: wanted.name, room: wanted.room });
  mine.onmessage = ({ data }) => {
    if (mine === socket) receive(JSON.parse(data));
  };
  mine.onclose = ({ code }) => {
    if (mine === socket) disconnected(code);
  };
}

function disconnect() {
  const old = socket;
  socket = null;
  old?.close(1000);
  clearTimeout(timer);
  showDisconnected();
}

function disconnected(code) {
  socket = null;
  showDisconnected();
  if (!wanted) return;
  // The jitter keeps many pages from coming back in the same instant.
  const most = Math.min(FIRST_RETRY * 2 ** attempt, LAST_RETRY);
  const delay = most * (0.5 + Math.random() / 2);
  attempt += 1;
  timer = setTimeout(connect, delay);
  const seconds = Math.ceil(delay / 1000);
  notify(`${reason(code)} Trying again in ${seconds === 1 ? "a second" : `${seconds} seconds`}.`);
}

function reason(code) {
  switch (code) {
    case 1001:
    case 1012:
      return "The server is going down.";
    case 1013:
      return "Your connection is too slow to keep up with this room.";
    default:
      return wanted.joined ? "The connection was lost." : "The server cannot be reached.";
  }
}

addEventListener("online", () => {
  if (wanted && !socket) connect();
});

function request(object) {
  socket.send(JSON.stringify(object));
}

function receive(event) {
  switch (event.type) {
    case "joined":
      joined = true;
      attempt = 0;
      wanted.joined = true;
      showJoined(event);
      break;
    case "entered":
      addPerson(event.name);
      notify(`${isolate(event.name)} is here now.`);
      break;
    case "left":
      removePerson(event.name);
      notify(`${isolate(event.name)} has left.`);
      break;
    case "said":
      addMessage(event.author, event.text);
      break;
    case "rejected":
      // After a lost connection our own old one may still hold the name for a while.
      if (!joined && wanted?.joined) return;
      if (!joined) giveUp();
      showError(event.reason, event.field);
      break;
  }
}

/** The server does not let us in, and trying again would not help. */
function giveUp() {
  wanted = null;
  $("where").textContent = "";
  $("text").placeholder = "Join a room to write";
}

// ===== what the user does =====

$("join-form").addEventListener("submit", (submit) => {
  submit.preventDefault();
  clearError();
  const name = $("name").value.trim();
  const room = $("room").value.trim();
  if (joined && wanted.name === name && wanted.room === room) {
    $("text").focus();
    return;
  }
  disconnect();
  if (wanted?.room !== room) clearMessages();
  wanted = { name, room, joined: false };
  attempt = 0;
  notify("Joining…");
  connect();
});

$("composer").addEventListener("submit", (submit) => {
  submit.preventDefault();
  clearError();
  const text = $("text").value.trim();
  const length = [...text].length;
  if (!joined || length === 0) return;
  if (length > MAX_TEXT) {
    showError(`The message has ${length} characters, and may have up to ${MAX_TEXT}.`, "text");
  } else if (socket.bufferedAmount > MAX_UNSENT) {
    showError("Your connection is too slow for more at the moment.", "text");
  } else {
    request({ type: "say", text });
    $("text").value = "";
  }
});

// ===== what the user sees =====
// Whatever other people wrote goes through `textContent`, never through HTML.

function showJoined({ name, room, people }) {
  $("status").textContent = "connected";
  $("status").dataset.state = "connected";
  $("where").textContent = room;
  document.title = `${room} · Chat`;
  history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  document.body.dataset.me = name;
  $("people").replaceChildren();
  people.forEach(addPerson);
  $("text").disabled = $("send").disabled = false;
  $("text").placeholder = `Message to ${room}`;
  $("text").focus();
  clearError();
  notify(people.length === 1 ? "You are the first one here." : `You are in, with ${people.length - 1} more.`);
}

function showDisconnected() {
  joined = false;
  $("status").textContent = "disconnected";
  $("status").dataset.state = "disconnected";
  $("text").disabled = $("send").disabled = true;
  $("people").replaceChildren();
  $("count").textContent = "";
  notify("");
}

function addPerson(name) {
  const person = document.createElement("li");
  person.textContent = name;
  dress(person, name);
  const next = [...$("people").children].find((other) => other.textContent.localeCompare(name) > 0);
  $("people").insertBefore(person, next ?? null);
  $("count").textContent = $("people").children.length;
}

function removePerson(name) {
  [...$("people").children].find((person) => person.textContent === name)?.remove();
  $("count").textContent = $("people").children.length;
}

function addMessage(author, text) {
  const message = document.createElement("li");
  dress(message, author);
  const by = element("p", "by", "");
  by.append(
    element("bdi", "author", author),
    element("time", "time", new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })),
  );
  message.append(by, element("p", "text", text));
  message.lastChild.dir = "auto";
  const messages = $("messages");
  if (messages.lastElementChild?.dataset.author === author) message.classList.add("more");
  message.dataset.author = author;
  messages.append(message);
  while (messages.children.length > MAX_SHOWN) messages.firstElementChild.remove();
  $("empty").hidden = true;
  if (atEnd || message.classList.contains("mine")) scrollToEnd();
}

/** Whether the newest message is in sight. It then stays so. */
let atEnd = true;
let logHeight = 0;

$("log").addEventListener("scroll", ({ target }) => {
  // Another height means that the page has changed, not that the user has scrolled.
  if (target.clientHeight === logHeight) {
    atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 60;
  }
});

new ResizeObserver(() => {
  logHeight = $("log").clientHeight;
  if (atEnd) scrollToEnd();
}).observe($("log"));

function scrollToEnd() {
  $("log").scrollTop = $("log").scrollHeight;
}

function clearMessages() {
  $("messages").replaceChildren();
  $("empty").hidden = false;
}

/** Colour and initial of a person, and whether it is this page's. */
function dress(item, name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  item.style.setProperty("--hue", hash);
  item.dataset.initial = [...name][0].toLocaleUpperCase();
  item.classList.toggle("mine", name === document.body.dataset.me);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A name inside a sentence, whatever the direction of its script. */
function isolate(name) {
  return `\u2068${name}\u2069`;
}

function notify(text) {
  $("notice").textContent = text;
}

function showError(text, field) {
  $("error").textContent = text;
  const input = field && $(field);
  if (input) {
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }
}

function clearError() {
  $("error").textContent = "";
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

// A link such as `/#kitchen` leads to that room.
try {
  const room = decodeURIComponent(location.hash.slice(1));
  if (room) $("room").value = room;
} catch {
  // Not a link of ours.
}
