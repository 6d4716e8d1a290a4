//! An asynchronous WebSocket.
