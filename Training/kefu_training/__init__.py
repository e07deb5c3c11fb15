"""Trains Kefu's understanding model: BERT -> bidirectional GRU -> intent and slots, exported as a bundle for intent-server."""
