//! Who may open a WebSocket.
