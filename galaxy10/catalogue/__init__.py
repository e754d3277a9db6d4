"""From new images to a catalogue on disk."""
