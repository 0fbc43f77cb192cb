"""What may be built, and what it costs before it is built. No torch here."""
