"""From trained runs and new images to a catalogue: pictures, verdicts, their uncertainty, and the files for them."""
